package imapserver

import (
	"bytes"
	"slices"
	"strconv"

	"postroad/imap"
)

// errMetadataSize refuses a value that is too large (RFC 5464, 4.3).
var errMetadataSize = imap.No(imap.Code("METADATA MAXSIZE "+strconv.Itoa(MetadataValueBytesMax)), "Value too large")

// metadataRequest is what GETMETADATA or LIST asks for.
type metadataRequest struct {
	MetadataOptions
	limited bool   // MAXSIZE
	maxSize uint64 // octets
}

// cmdGetMetadata is GETMETADATA (RFC 5464, 4.2). Its options stand before the mailbox in the
// formal syntax, behind it in the RFC's examples.
func (c *Conn) cmdGetMetadata(cmd *command) error {
	r := &metadataRequest{}
	cmd.SP()
	if cmd.Next('(') {
		cmd.List(func() { r.option(cmd) })
		cmd.SP()
	}
	mailbox := cmd.Mailbox()
	cmd.SP()
	r.entries(cmd)
	for !cmd.Done() {
		cmd.SP()
		r.entry(cmd) // as in the examples of RFC 5464, 4.4.1
	}
	if err := cmd.args(); err != nil {
		return err
	}
	long, err := c.metadata(mailbox, r)
	if err != nil {
		return err
	}
	if long > 0 {
		return c.ok(cmd, numberCode("METADATA LONGENTRIES", long)) // RFC 5464, 4.2.1
	}
	return c.ok(cmd, "")
}

// metadataRequest reads options and entries.
func (cmd *command) metadataRequest() *metadataRequest {
	r := &metadataRequest{}
	r.entries(cmd)
	return r
}

// entries reads entry names, alone or in parentheses, behind options in parentheses if there
// are any. Options begin with a letter, names with a slash, a quote or as a literal.
func (r *metadataRequest) entries(cmd *command) {
	if !cmd.Next('(') {
		r.entry(cmd)
		return
	}
	options := false
	cmd.List(func() {
		if cmd.Next('/') || cmd.Next('"') || cmd.Next('{') {
			r.entry(cmd)
			return
		}
		options = true
		r.option(cmd)
	})
	switch {
	case options && len(r.Names) > 0:
		cmd.Fail("options and entries in one list")
	case options:
		cmd.SP()
		if cmd.Next('(') {
			cmd.List(func() { r.entry(cmd) })
		} else {
			r.entry(cmd)
		}
	}
	if len(r.Names) == 0 {
		cmd.Fail("expected an entry name")
	}
}

// entry reads an entry name.
func (r *metadataRequest) entry(cmd *command) {
	name := cmd.MetadataParent()
	if !slices.Contains(r.Names, name) {
		r.Names = append(r.Names, name)
	}
	if len(r.Names) > MetadataEntriesMax {
		cmd.Fail("too many entries")
	}
}

// option reads an option of GETMETADATA (RFC 5464, 4.2.1 and 4.2.2).
func (r *metadataRequest) option(cmd *command) {
	switch cmd.Keyword() {
	case "MAXSIZE":
		cmd.SP()
		r.limited, r.maxSize = true, cmd.Number64()
	case "DEPTH":
		cmd.SP()
		switch cmd.Keyword() {
		case "0":
			r.Depth = imap.MetadataDepth0
		case "1":
			r.Depth = imap.MetadataDepth1
		case "INFINITY":
			r.Depth = imap.MetadataDepthInfinity
		default:
			cmd.Fail(`expected "0", "1" or "infinity"`)
		}
	default:
		cmd.Fail("unknown option")
	}
}

// metadata writes the METADATA response of a mailbox, or of the server, and returns the size
// of the largest value that MAXSIZE has left out. RFC 5464, 4.2, requires a response, so
// entries that were named and have no value are told as NIL.
func (c *Conn) metadata(mailbox string, r *metadataRequest) (long uint64, err error) {
	found, err := c.session.(Annotator).GetMetadata(c.ctx, mailbox, r.MetadataOptions)
	if err != nil {
		return 0, err
	}
	shown := make([]imap.MetadataEntry, 0, len(found))
	for _, e := range found {
		if size := uint64(len(e.Value)); r.limited && size > r.maxSize {
			long = max(long, size)
			continue
		}
		shown = append(shown, e)
	}
	if r.Depth == imap.MetadataDepth0 || len(found) == 0 {
		for _, name := range r.Names {
			if !slices.ContainsFunc(found, func(e imap.MetadataEntry) bool { return e.Name == name }) {
				shown = append(shown, imap.MetadataEntry{Name: name})
			}
		}
	}
	if len(shown) == 0 {
		return long, nil
	}
	c.text("* METADATA ")
	c.out = imap.AppendMailbox(c.out, mailbox, c.utf8)
	sep := " ("
	for _, e := range shown {
		c.text(sep)
		sep = " "
		c.out = imap.AppendAString(c.out, e.Name)
		c.text(" ")
		c.metadataValue(e.Value)
		if err := c.spill(); err != nil {
			return 0, err
		}
	}
	c.text(")\r\n")
	return long, c.spill()
}

// metadataValue writes a value: NIL, a string, or a literal8 where there are NUL octets.
func (c *Conn) metadataValue(value []byte) {
	switch {
	case value == nil:
		c.text("NIL")
	case bytes.IndexByte(value, 0) >= 0:
		c.text("~{", strconv.Itoa(len(value)), "}\r\n")
		c.out = append(c.out, value...)
	default:
		c.out = imap.AppendString(c.out, value)
	}
}

// cmdSetMetadata is SETMETADATA (RFC 5464, 4.3).
func (c *Conn) cmdSetMetadata(cmd *command) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	cmd.SP()
	var entries []imap.MetadataEntry
	tooLarge := false
	cmd.List(func() {
		e := imap.MetadataEntry{Name: cmd.MetadataName()}
		cmd.SP()
		e.Value = cmd.MetadataValue()
		tooLarge = tooLarge || len(e.Value) > MetadataValueBytesMax
		if slices.ContainsFunc(entries, func(other imap.MetadataEntry) bool { return other.Name == e.Name }) {
			cmd.Fail("an entry is named twice")
		}
		if entries = append(entries, e); len(entries) > MetadataEntriesMax {
			cmd.Fail("too many entries")
		}
	})
	if len(entries) == 0 {
		cmd.Fail("expected an entry")
	}
	if err := cmd.args(); err != nil {
		return err
	}
	if tooLarge {
		return errMetadataSize
	}
	if err := c.session.(Annotator).SetMetadata(c.ctx, mailbox, entries); err != nil {
		return err
	}
	return c.ok(cmd, "")
}
