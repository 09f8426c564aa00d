package imapd

import (
	"context"
	"errors"
	"io"
	"time"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
	"postroad/internal/mda/events"
	"postroad/message"
)

// Append stages the messages as they arrive and adds them all in one commit (RFC 3502).
func (s *Session) Append(ctx context.Context, name string, r *imapserver.AppendReader) (*imapserver.AppendData, error) {
	to, err := s.enter(ctx, cmdInsert, name, imap.CodeTryCreate)
	if err != nil {
		return nil, err
	}
	var staged []*mailstore.Incoming
	defer func() {
		for _, m := range staged {
			s.backend.o.Bodies.Discard(m.Body) // those that a commit took are left alone
		}
	}()
	var bytes int64
	for {
		m, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(staged) == appendMessagesMax {
			return nil, imap.No(imap.CodeLimit, "Too many messages in one APPEND")
		}
		// Before the literal is asked for: what does not fit is not sent.
		bytes += m.Size
		if err := to.account.Room(ctx, bytes, int64(len(staged)+1)); err != nil {
			return nil, answer(err)
		}
		in, err := s.stage(ctx, m)
		if err != nil {
			return nil, err
		}
		staged = append(staged, in)
	}
	return s.add(ctx, to, staged)
}

// add puts staged messages into a mailbox, with the flags that the user may set there. In
// somebody else's mailbox \Seen is his own, set once the UIDs are known.
func (s *Session) add(ctx context.Context, to *place, staged []*mailstore.Incoming) (*imapserver.AppendData, error) {
	seen := make([]bool, len(staged))
	for i, m := range staged {
		keep := keeps(to.rights)
		m.Flags &^= keep
		if keep&mailstore.KeywordFlags != 0 {
			m.Keywords = nil
		}
		if to.foreign() {
			seen[i] = m.Flags&mailstore.Seen != 0
			m.Flags &^= mailstore.Seen
		}
	}
	appended, err := to.account.Append(ctx, to.mailbox.ID, staged...)
	if err != nil {
		return nil, tryCreate(err)
	}
	data := &imapserver.AppendData{}
	var read imap.UIDSet
	for i, a := range appended {
		data.UIDValidity = a.UIDValidity
		data.UIDs.Add(a.UID)
		if seen[i] {
			read.Add(a.UID)
		}
	}
	if len(read) > 0 {
		_, err = to.account.StoreFlags(ctx, to.mailbox.ID, read,
			mailstore.FlagChange{Mode: mailstore.FlagsAdd, Flags: mailstore.Seen, Reader: s.who.ID})
	}
	s.watch(ctx, to.account, to.mailbox.ID, events.Append).Happened(ctx, data.UIDs)
	return data, answer(err)
}

// stage streams one message into the store, parsing it on the way.
func (s *Session) stage(ctx context.Context, m *imapserver.AppendMessage) (*mailstore.Incoming, error) {
	parser := message.NewParser(s.backend.o.MessageLimits)
	body, err := s.backend.o.Bodies.Stage(ctx, io.TeeReader(m, parser), s.backend.o.MessageBytesMax)
	if err != nil {
		return nil, answer(err)
	}
	parsed, err := parser.Close()
	if err != nil {
		s.backend.o.Bodies.Discard(body)
		if errors.Is(err, message.ErrHeaderTooLarge) {
			return nil, imap.No(imap.CodeLimit, "The header of the message is too large")
		}
		return nil, err
	}
	date := m.Date
	if date.IsZero() {
		date = time.Now()
	}
	flags, keywords := mailstore.ParseFlags(m.Flags)
	return &mailstore.Incoming{Body: body, Message: parsed, Flags: flags, Keywords: keywords, InternalDate: date}, nil
}
