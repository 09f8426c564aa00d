package bounce

import (
	"bytes"
	"io"

	"postroad/internal/blob"
	"postroad/message"
)

// readHeader returns the header of the message without its empty line, cut at a field when
// it is longer than HeadersMax.
func readHeader(m *message.Message, body blob.Reader) ([]byte, error) {
	size := m.Root.Header.Size()
	head := make([]byte, min(size, HeadersMax))
	if n, err := body.ReadAt(head, 0); err != nil && !(err == io.EOF && n == len(head)) {
		return nil, err
	}
	end := 0
	for f := range message.Fields(head) {
		if f.End == len(head) && size > HeadersMax {
			break // perhaps not whole
		}
		end = f.End
	}
	return head[:end], nil
}

// newBlock returns the header as a part's body: it ends with one line end.
func newBlock(head []byte) io.Reader {
	if len(head) > 0 && head[len(head)-1] != '\n' {
		head = append(head, "\r\n"...)
	}
	return bytes.NewReader(head)
}

func eightBit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
