package pop3

import (
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"postroad/message"
)

// surrogateMax is the longest header block that is rewritten, in octets.
const surrogateMax = 256 << 10

// needsUTF8 is the answer where no surrogate can be made.
var needsUTF8 = &Error{CodeUTF8, "This message can be read in UTF-8 mode only"}

// asciiHeader returns the content of a message for a client that is not in UTF-8 mode:
// as it is where its header is ASCII, else with a header rewritten as RFC 6858 says
// (RFC 6856, 2.1). LIST tells the size of the message itself (RFC 6858, 4). buffer is for
// the time of the call.
func asciiHeader(m io.ReaderAt, content io.Reader, buffer []byte) (io.Reader, error) {
	ascii, err := headerIsASCII(m, buffer)
	if err != nil || ascii {
		return content, err
	}
	return &surrogate{message.EditHeader(content, surrogateMax, func(block []byte) ([]byte, error) {
		return downgrade(block), nil
	})}, nil
}

// surrogate turns a header that is too long to be rewritten into an answer.
type surrogate struct{ r io.Reader }

func (s *surrogate) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if errors.Is(err, message.ErrHeaderTooLarge) {
		err = needsUTF8
	}
	return n, err
}

// headerIsASCII reads the header to its end or to the first octet above 127.
func headerIsASCII(m io.ReaderAt, buffer []byte) (bool, error) {
	start, off := true, int64(0)
	for {
		n, err := m.ReadAt(buffer, off)
		if err != nil && err != io.EOF {
			return false, err
		}
		off += int64(n)
		for _, b := range buffer[:n] {
			switch {
			case b == '\n' && start:
				return true, nil
			case b == '\n':
				start = true
			case b >= utf8.RuneSelf:
				return false, nil
			case b != '\r':
				start = false
			}
		}
		if err == io.EOF || n == 0 {
			return true, nil
		}
	}
}

// addressFields are those of RFC 6858, 2.1.
var addressFields = []string{"From", "To", "Cc", "Bcc", "Reply-To", "Sender", "Return-Path",
	"Resent-From", "Resent-To", "Resent-Cc", "Resent-Bcc", "Resent-Reply-To", "Resent-Sender"}

// parameterFields are those of RFC 6858, 2.2.
var parameterFields = []string{"Content-Type", "Content-Disposition"}

// downgrade rewrites the fields of a header block that are not ASCII.
func downgrade(block []byte) []byte {
	out := make([]byte, 0, len(block)+len(block)/4)
	end := 0
	for f := range message.Fields(block) {
		end = f.End
		if field := block[f.Start:f.End]; isASCII(field) {
			out = append(out, field...)
			continue
		}
		var h message.Header
		name, value := string(f.Name), strings.ToValidUTF8(f.Unfolded(), "\uFFFD")
		switch {
		case f.Is("Subject"):
			h.AddText(name, value)
		case isOneOf(f, addressFields):
			h.AddAddresses(name, downgradeAddresses(value))
		case isOneOf(f, parameterFields):
			if value = downgradeParameters(value); value != "" {
				h.Add(name, value)
			}
		}
		out = append(out, h.Bytes()...) // nothing: silently excised (RFC 6858, 2.4)
	}
	return append(out, block[end:]...)
}

func isOneOf(f message.Field, names []string) bool {
	for _, n := range names {
		if f.Is(n) {
			return true
		}
	}
	return false
}

func isASCII[T []byte | string](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// downgradeAddresses puts an address that belongs to nobody in the place of each that is
// not ASCII, and its text into the display name where there is none (RFC 6858, 2.1).
func downgradeAddresses(value string) message.AddressList {
	list := message.ParseAddressList(value)
	for i := range list {
		m := &list[i]
		spec := m.AddrSpec()
		if m.Kind != message.KindMailbox || isASCII(spec) {
			continue
		}
		if m.Name == "" {
			m.Name = spec
		}
		m.Local, m.Host, m.Route = "invalid", "internationalized-address.invalid", ""
	}
	return list
}

// downgradeParameters leaves out the parameters that are not ASCII (RFC 6858, 2.2).
func downgradeParameters(value string) string {
	var kept []string
	for _, part := range splitParameters(value) {
		if isASCII(part) {
			kept = append(kept, part)
		}
	}
	if len(kept) == 0 || !strings.HasPrefix(value, kept[0]) {
		return "" // the value itself is not ASCII
	}
	return strings.Join(kept, ";")
}

// splitParameters cuts at semicolons outside of quoted strings.
func splitParameters(value string) (parts []string) {
	quoted, from := false, 0
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			parts = append(parts, value[from:i])
			from = i + 1
		}
	}
	return append(parts, value[from:])
}
