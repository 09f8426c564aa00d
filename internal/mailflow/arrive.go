package mailflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/message"
	"postroad/smtp"
)

// HopsMax is the number of Received fields over which a message is taken for one that goes
// round in circles, unless ContentLimits say otherwise (RFC 5321, 6.3: at least 100).
const HopsMax = 100

// ContentLimits bound what one message may be. Size is needed; the others mean their
// defaults where they are zero.
type ContentLimits struct {
	Size   int64          // octets of the content
	Hops   int            // Received fields; HopsMax
	Header message.Limits // octets and fields of the header
}

// Stager stages bodies; *blob.Bodies is one.
type Stager interface {
	Stage(ctx context.Context, r io.Reader, max int64) (blob.Body, error)
	Discard(b blob.Body)
}

// What is wrong with content.
var (
	ErrHops   = smtp.NewError(554, smtp.EnhancedCode{5, 4, 6}, "Too many hops: the message goes round in circles")
	ErrHeader = smtp.NewError(554, smtp.EnhancedCode{5, 6, 0}, "Header too large")
	ErrSize   = smtp.NewError(552, smtp.EnhancedCode{5, 3, 4}, "Message too large")
	ErrSpace  = smtp.NewError(452, smtp.EnhancedCode{4, 3, 1}, "Not enough storage, try again later")
)

// hops is Hops or its default.
func (l *ContentLimits) hops() int {
	if l.Hops == 0 {
		return HopsMax
	}
	return l.Hops
}

// AppendReturnPath appends the Return-Path field that final delivery puts on top of a
// message (RFC 5321, 4.4). A body is written once, so a door writes it, when it knows that
// no recipient is outside.
func AppendReturnPath(dst []byte, from address.Address, utf8 bool) []byte {
	dst = append(append(dst, "Return-Path: "...), from.Path(utf8)...)
	return append(dst, '\r', '\n')
}

// Arrive stages content behind the fields that a door puts on top, and takes its structure
// apart while it goes by: the octets are looked at once. The size limit is that of the
// content alone. An error that is a *smtp.Error is the content's fault and fit for
// the peer; after any error nothing is kept. The caller discards the body if no commit
// takes it.
func Arrive(ctx context.Context, s Stager, top []byte, content io.Reader, limits ContentLimits) (blob.Body, *message.Message, error) {
	parser := message.NewParser(limits.Header)
	all := io.TeeReader(io.MultiReader(bytes.NewReader(top), content), parser)
	body, err := s.Stage(ctx, all, limits.Size+int64(len(top)))
	switch {
	case errors.Is(err, blob.ErrTooLarge):
		return blob.Body{}, nil, ErrSize.With(err)
	case errors.Is(err, blob.ErrFull):
		return blob.Body{}, nil, ErrSpace.With(err)
	case err != nil:
		return blob.Body{}, nil, fmt.Errorf("stage the content: %w", err)
	}
	m, err := parser.Close()
	if err != nil {
		s.Discard(body)
		return blob.Body{}, nil, ErrHeader.With(err)
	}
	if m.Received > limits.hops() {
		s.Discard(body)
		return blob.Body{}, nil, ErrHops
	}
	return body, m, nil
}
