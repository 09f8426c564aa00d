package imapserver

import (
	"io"

	"github.com/klauspost/compress/flate"

	"postroad/imap"
)

// cmdCompress is COMPRESS (RFC 4978).
func (c *Conn) cmdCompress(cmd *command) error {
	cmd.SP()
	mechanism := cmd.Keyword()
	if err := cmd.args(); err != nil {
		return err
	}
	switch {
	case mechanism != "DEFLATE":
		return imap.No(imap.CodeCannot, "Only DEFLATE is known")
	case c.deflate != nil:
		return imap.No(imap.CodeCompressionActive, "Compression is active already")
	}
	c.done(cmd, "")
	if err := c.flush(); err != nil {
		return err
	}
	in := &c.in
	in.inflate = newInflater(c.transport())
	// RFC 4978, 3: whatever comes behind the command is compressed.
	in.inflate.feed(in.buf[in.pos:in.end])
	in.pos, in.end = 0, 0
	c.deflate = &deflater{c.transport()}
	return nil
}

// deflater compresses each buffer by itself, ending at a whole octet as a client needs to
// see it. It keeps nothing from one buffer to the next, which costs some of the size and
// saves the 32 KB window and tables that an idle connection would hold otherwise.
type deflater struct{ w io.Writer }

func (d *deflater) Write(p []byte) (int, error) {
	scratch := scratch{b: outPool.Get().(*[outBytes]byte)[:0]}
	defer func() {
		if cap(scratch.b) == outBytes {
			outPool.Put((*[outBytes]byte)(scratch.b[:outBytes]))
		}
	}()
	if err := flate.StatelessDeflate(&scratch, p, false, nil); err != nil {
		return 0, err
	}
	if _, err := d.w.Write(scratch.b); err != nil {
		return 0, err
	}
	return len(p), nil
}

// scratch gathers the small writes of the compressor.
type scratch struct{ b []byte }

func (s *scratch) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}
