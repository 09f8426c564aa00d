package smtp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const allExtensions = ^Extension(0)

func TestParseMailParams(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name, in string
		offered  Extension
		want     MailParams
		code     int // of the error
	}{
		{name: "none"},
		{name: "spaces alone", in: "   "},
		{name: "size", in: " SIZE=1000", offered: Size, want: MailParams{Size: 1000}},
		{name: "size above int64", in: " SIZE=99999999999999999999", offered: Size, want: MailParams{Size: 1<<63 - 1}},
		{name: "size with sign", in: " SIZE=+1", offered: Size, code: 501},
		{name: "size empty", in: " SIZE=", offered: Size, code: 501},
		{name: "size without value", in: " SIZE", offered: Size, code: 501},
		{name: "not offered", in: " SIZE=1", offered: DSN, code: 555},
		{name: "unknown", in: " FOO=1", offered: allExtensions, code: 555},
		{name: "twice", in: " SIZE=1 size=2", offered: Size, code: 501},
		{name: "body", in: " body=8bitmime", offered: EightBitMIME, want: MailParams{Body: Body8BitMIME}},
		{name: "body wrong", in: " BODY=9BIT", offered: EightBitMIME, code: 501},
		{name: "utf8", in: " SMTPUTF8", offered: SMTPUTF8, want: MailParams{SMTPUTF8: true}},
		{name: "utf8 with value", in: " SMTPUTF8=1", offered: SMTPUTF8, code: 501},
		{name: "dsn", in: " RET=HDRS ENVID=QQ+2B314159", offered: DSN, want: MailParams{Return: ReturnHeaders, EnvID: "QQ+314159"}},
		{name: "envid with control", in: " ENVID=a+0A", offered: DSN, code: 501},
		{name: "envid wrong xtext", in: " ENVID=a+2", offered: DSN, code: 501},
		{name: "auth", in: " AUTH=e+3Dmc2@example.com", offered: Auth, want: MailParams{Auth: "e=mc2@example.com"}},
		{name: "auth nobody", in: " AUTH=<>", offered: Auth, want: MailParams{Auth: "<>"}},
		{name: "hold for", in: " HOLDFOR=86400", offered: FutureRelease, want: MailParams{HoldFor: 24 * time.Hour}},
		{name: "hold for nothing", in: " HOLDFOR=0", offered: FutureRelease, code: 501},
		{name: "hold until", in: " HOLDUNTIL=2026-01-02T03:04:05Z", offered: FutureRelease, want: MailParams{HoldUntil: at}},
		{name: "hold both", in: " HOLDFOR=1 HOLDUNTIL=2026-01-02T03:04:05Z", offered: FutureRelease, code: 501},
		{name: "priority", in: " MT-PRIORITY=-4", offered: MTPriority, want: MailParams{Priority: -4, HasPriority: true}},
		{name: "priority out of range", in: " MT-PRIORITY=10", offered: MTPriority, code: 501},
		{name: "by", in: " BY=120;RT", offered: DeliverByExtension, want: MailParams{By: &DeliverBy{Within: 2 * time.Minute, Return: true, Trace: true}}},
		{name: "by in the past", in: " BY=-5;N", offered: DeliverByExtension, want: MailParams{By: &DeliverBy{Within: -5 * time.Second}}},
		{name: "by in the past with return", in: " BY=-5;R", offered: DeliverByExtension, code: 501},
		{name: "by without mode", in: " BY=5", offered: DeliverByExtension, code: 501},
		{name: "value with equals", in: " ENVID=a=b", offered: DSN, code: 501},
		{name: "raw UTF-8 without SMTPUTF8", in: " ENVID=ä", offered: allExtensions, code: 501},
		{name: "too many", in: strings.Repeat(" SIZE=1", 17), offered: Size, code: 501},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseMailParams(tt.in, tt.offered)
			checkCode(t, err, tt.code)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func checkCode(t *testing.T, err error, code int) {
	t.Helper()
	var e *Error
	if errors.As(err, &e) != (code != 0) || e != nil && e.Reply.Code != code {
		t.Fatalf("error %v, want code %d", err, code)
	}
}

func TestParseRcptParams(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		offered  Extension
		want     RcptParams
		code     int
	}{
		{name: "never", in: " NOTIFY=NEVER", offered: DSN, want: RcptParams{Notify: NotifyNever}},
		{name: "three", in: " NOTIFY=delay,SUCCESS,Failure", offered: DSN, want: RcptParams{Notify: NotifySuccess | NotifyFailure | NotifyDelay}},
		{name: "never with another", in: " NOTIFY=NEVER,DELAY", offered: DSN, code: 501},
		{name: "one twice", in: " NOTIFY=DELAY,DELAY", offered: DSN, code: 501},
		{name: "original", in: " ORCPT=rfc822;Bob+2Bx@example.com", offered: DSN, want: RcptParams{Original: "rfc822;Bob+x@example.com"}},
		{name: "original without type", in: " ORCPT=;Bob@example.com", offered: DSN, code: 501},
		{name: "original with line end", in: " ORCPT=rfc822;a+0D+0Ab", offered: DSN, code: 501},
		{name: "original twice", in: " ORCPT=rfc822;a ORCPT=rfc822;b", offered: DSN, code: 501},
		{name: "not offered", in: " NOTIFY=NEVER", code: 555},
		{name: "unknown", in: " X=NEVER", offered: DSN, code: 555},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRcptParams(tt.in, tt.offered)
			checkCode(t, err, tt.code)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFormatOffered shows that a parameter goes only to a server that knows it.
func TestFormatOffered(t *testing.T) {
	p := MailParams{Size: 5, Body: Body8BitMIME, EnvID: "a b", Auth: "<>", SMTPUTF8: true}
	if got, want := string(p.AppendTo(nil, allExtensions)), " SIZE=5 BODY=8BITMIME SMTPUTF8 ENVID=a+20b AUTH=<>"; got != want {
		t.Errorf("all: %q, want %q", got, want)
	}
	if got, want := string(p.AppendTo(nil, Size)), " SIZE=5"; got != want {
		t.Errorf("SIZE: %q, want %q", got, want)
	}
	if got, want := p.Needs(), SMTPUTF8|EightBitMIME; got != want {
		t.Errorf("needs %b, want %b", got, want)
	}
}

func TestReplyFormat(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply Reply
		want  string
	}{
		{"plain", Reply{Code: 220, Lines: []string{"hello"}}, "220 hello\r\n"},
		{"no lines", Reply{Code: 250}, "250 \r\n"},
		{"enhanced on each line", Reply{Code: 550, Enhanced: EnhancedCode{5, 1, 1}, Lines: []string{"a", "b"}}, "550-5.1.1 a\r\n550 5.1.1 b\r\n"},
		{"no second reply by text", Reply{Code: 250, Lines: []string{"a\r\n250 b\x00"}}, "250 a  250 b \r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.reply.AppendTo(nil)); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestReplyParser(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     Reply
		err      error
	}{
		{name: "one line", in: "250 2.1.0 fine", want: Reply{Code: 250, Enhanced: EnhancedCode{2, 1, 0}, Lines: []string{"fine"}}},
		{name: "code alone", in: "250", want: Reply{Code: 250, Lines: []string{""}}},
		{name: "enhanced code alone", in: "250 2.0.0", want: Reply{Code: 250, Enhanced: EnhancedCode{2, 0, 0}, Lines: []string{""}}},
		{name: "two lines", in: "550-5.1.1 a|550 5.1.1 b", want: Reply{Code: 550, Enhanced: EnhancedCode{5, 1, 1}, Lines: []string{"a", "b"}}},
		{name: "class of another code", in: "550 4.1.1 a", want: Reply{Code: 550, Lines: []string{"4.1.1 a"}}},
		{name: "a version number", in: "220 5.10.2000 x", want: Reply{Code: 220, Lines: []string{"5.10.2000 x"}}},
		{name: "codes differ", in: "250-a|251 b", err: ErrReplySyntax},
		{name: "too short", in: "25", err: ErrReplySyntax},
		{name: "code out of range", in: "650 x", err: ErrReplySyntax},
		{name: "no space", in: "250x", err: ErrReplySyntax},
		{name: "too long", in: "250 " + strings.Repeat("x", ReplyLineMax), err: ErrReplyTooLong},
		{name: "too many lines", in: strings.Repeat("250-a|", ReplyLinesMax) + "250 a", err: ErrReplyTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p ReplyParser
			var got Reply
			var err error
			for line := range strings.SplitSeq(tt.in, "|") {
				if got, _, err = p.Add(line); err != nil {
					break
				}
			}
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseCapabilities(t *testing.T) {
	got := ParseCapabilities([]string{"mx.example.com SIZE", "size 100", "PIPELINING", "AUTH PLAIN login", "AUTH=PLAIN X", "LIMITS RCPTMAX=20 MAILMAX=1000000 X=1", "WHATEVER"})
	want := Capabilities{Extensions: Size | Pipelining | Auth | LimitsExtension, SizeMax: 100, Auth: []string{"PLAIN", "LOGIN", "X"}, Limits: Limits{RcptMax: 20}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := (Limits{MailMax: 3, RcptMax: 5}).String(); got != "MAILMAX=3 RCPTMAX=5" {
		t.Error(got)
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("disk on fire")
	err := fmt.Errorf("store: %w", NewError(451, EnhancedCode{4, 3, 0}, "Try later").With(cause))
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, cause) || !e.Temporary() {
		t.Fatal("does not unwrap")
	}
	if got, want := e.Error(), "451 4.3.0 Try later (disk on fire)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzParams: what was parsed, formatted and parsed again is the same.
func FuzzParams(f *testing.F) {
	f.Add(" SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+2B AUTH=<> HOLDFOR=5 MT-PRIORITY=-3 BY=1;RT")
	f.Add(" HOLDUNTIL=2026-01-02T03:04:05+01:00")
	f.Add(" NOTIFY=SUCCESS,DELAY ORCPT=utf-8;ä\\x{20}+20")
	f.Fuzz(func(t *testing.T, in string) {
		if p, err := ParseMailParams(in, allExtensions); err == nil {
			p.Size = min(p.Size, 1<<62)
			again, err := ParseMailParams(string(p.AppendTo(nil, allExtensions)), allExtensions)
			if !p.HoldUntil.Equal(again.HoldUntil) && p.HoldUntil.Year() > 0 && p.HoldUntil.Year() < 9999 {
				// RFC 3339 has no more than seconds here.
				if d := p.HoldUntil.Sub(again.HoldUntil); d < 0 || d >= time.Second {
					t.Fatalf("%q: hold until %v, then %v", in, p.HoldUntil, again.HoldUntil)
				}
			}
			p.HoldUntil, again.HoldUntil = time.Time{}, time.Time{}
			if err == nil && !cmp.Equal(p, again) {
				t.Fatalf("%q: %+v, then %+v", in, p, again)
			}
			if err != nil && p.EnvID == "" && p.Auth == "" {
				t.Fatalf("%q: %v", in, err)
			}
		}
		if p, err := ParseRcptParams(in, allExtensions); err == nil {
			again, err := ParseRcptParams(string(p.AppendTo(nil, allExtensions)), allExtensions)
			if err == nil && !cmp.Equal(p, again) {
				t.Fatalf("%q: %+v, then %+v", in, p, again)
			}
			if err != nil && p.Original == "" {
				t.Fatalf("%q: %v", in, err)
			}
		}
	})
}

// FuzzReply: a reply that was parsed, formatted and parsed again is the same, and stays
// one reply.
func FuzzReply(f *testing.F) {
	f.Add("250-2.0.0 a\n250 2.0.0 b")
	f.Add("550 5.1.1")
	f.Add("421 4.3.0 \x00\r")
	f.Fuzz(func(t *testing.T, in string) {
		var p ReplyParser
		for line := range strings.SplitSeq(in, "\n") {
			r, done, err := p.Add(line)
			if err != nil {
				return
			}
			if !done {
				continue
			}
			first := string(r.AppendTo(nil))
			var q ReplyParser
			lines := strings.Split(strings.TrimSuffix(first, "\r\n"), "\r\n")
			for i, l := range lines {
				again, done, err := q.Add(l)
				if err != nil || done != (i == len(lines)-1) {
					t.Fatalf("%q: line %d: done %v, %v", first, i, done, err)
				}
				if done && string(again.AppendTo(nil)) != first {
					t.Fatalf("%q, then %q", first, again.AppendTo(nil))
				}
			}
		}
	})
}
