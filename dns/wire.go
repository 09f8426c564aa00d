package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Sizes on the wire.
const (
	udpSize    = 1232     // octets announced by EDNS0: no fragments on any usual path
	udpReadMax = 4096     // octets read of a datagram
	tcpSizeMax = 64 << 10 // octets (RFC 1035, 4.2.2)
	udpJunkMax = 64       // datagrams that are not the answer, per question
)

var (
	errCase      = errors.New("the question came back in another case")
	errTruncated = errors.New("truncated over TCP")
)

// ask puts one question to the servers in turn, some rounds long. trusted tells whether
// the AD bit of the answer may be believed. ErrBogus means that a validating server
// refuses to give what it would give without validation.
func (s *Stub) ask(ctx context.Context, q question) (m *dns.Msg, trusted bool, err error) {
	timeout := s.options.Timeout
	for round := 0; round < s.options.Rounds; round++ {
		for _, server := range s.options.Servers {
			m, err = s.askServer(ctx, server, q, timeout, false)
			if ctx.Err() != nil {
				return nil, false, ctx.Err()
			}
			trusted = s.options.TrustAD || server.Addr().Unmap().IsLoopback()
			switch {
			case err != nil:
			case m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError:
				return m, trusted, nil
			case m.Rcode == dns.RcodeServerFailure && s.isBogus(ctx, server, q, timeout, trusted, m):
				return nil, false, ErrBogus
			default:
				err = fmt.Errorf("%s answers %s", server, dns.RcodeToString[m.Rcode])
			}
		}
		timeout *= 2
	}
	return nil, false, err
}

// isBogus finds out whether a SERVFAIL comes from validation: by the extended error (RFC
// 8914, 4.7 to 4.13), or because the same question without checking has an answer (CD,
// RFC 4035, 3.2.2).
func (s *Stub) isBogus(ctx context.Context, server netip.AddrPort, q question, timeout time.Duration, trusted bool, m *dns.Msg) bool {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok && e.InfoCode >= dns.ExtendedErrorCodeDNSBogus && e.InfoCode <= dns.ExtendedErrorCodeNSECMissing {
				return true
			}
		}
	}
	if !trusted {
		return false
	}
	unchecked, err := s.askServer(ctx, server, q, timeout, true)
	return err == nil && (unchecked.Rcode == dns.RcodeSuccess || unchecked.Rcode == dns.RcodeNameError)
}

// askServer asks one server: by UDP, by TCP when the answer does not fit or looks
// tampered with, without EDNS0 when the server does not know it (RFC 6891, 7).
func (s *Stub) askServer(ctx context.Context, server netip.AddrPort, q question, timeout time.Duration, unchecked bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for edns := true; ; edns = false {
		req := s.request(q, edns, unchecked)
		m, err := s.exchange(ctx, "udp", server, req)
		if errors.Is(err, errCase) || (err == nil && m.Truncated) {
			m, err = s.exchange(ctx, "tcp", server, req)
			if err == nil && m.Truncated {
				err = errTruncated
			}
		}
		if err == nil && edns && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) && m.IsEdns0() == nil {
			continue
		}
		return m, err
	}
}

// request builds a question with a random id.
func (s *Stub) request(q question, edns, unchecked bool) *dns.Msg {
	m := new(dns.Msg)
	name := q.name + "."
	if s.options.MixCase {
		name = mixCase(name)
	}
	m.SetQuestion(name, uint16(q.t))
	var id [2]byte
	rand.Read(id[:])
	m.Id = binary.BigEndian.Uint16(id[:])
	m.RecursionDesired = true
	m.AuthenticatedData = true // asks for AD in the answer (RFC 6840, 5.7)
	m.CheckingDisabled = unchecked
	if edns {
		m.SetEdns0(udpSize, true)
	}
	return m
}

// exchange sends a question over a new connection, so from a new random port, and waits
// for its answer.
func (s *Stub) exchange(ctx context.Context, network string, server netip.AddrPort, req *dns.Msg) (*dns.Msg, error) {
	wire, err := req.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack question: %w", err)
	}
	conn, err := s.options.Dial(ctx, network, server.String())
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	defer conn.Close()
	if t, ok := ctx.Deadline(); ok {
		conn.SetDeadline(t)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var m *dns.Msg
	if network == "tcp" {
		m, err = exchangeTCP(conn, wire, req)
	} else {
		m, err = exchangeUDP(conn, wire, req)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	return m, nil
}

// exchangeUDP passes over datagrams that are not the answer: a forged one must not end
// the wait for the real one.
func exchangeUDP(conn net.Conn, wire []byte, req *dns.Msg) (*dns.Msg, error) {
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buf := make([]byte, udpReadMax)
	for range udpJunkMax {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		m := new(dns.Msg)
		if err := m.Unpack(buf[:n]); err != nil && !m.Truncated {
			continue
		}
		switch err := isAnswer(m, req); {
		case err == nil:
			return m, nil
		case errors.Is(err, errCase):
			return nil, err
		}
	}
	return nil, errors.New("only datagrams that are no answer")
}

func exchangeTCP(conn net.Conn, wire []byte, req *dns.Msg) (*dns.Msg, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, len(wire)+2), uint16(len(wire)))
	if _, err := conn.Write(append(framed, wire...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(buf); err != nil {
		return nil, fmt.Errorf("unpack answer: %w", err)
	}
	return m, isAnswer(m, req)
}

// isAnswer checks that m answers req (RFC 5452, 9.1).
func isAnswer(m, req *dns.Msg) error {
	if !m.Response || m.Id != req.Id || m.Opcode != dns.OpcodeQuery {
		return errors.New("not the answer")
	}
	if len(m.Question) == 0 && m.Rcode == dns.RcodeFormatError {
		return nil // a server that could not read the question cannot repeat it
	}
	if len(m.Question) != 1 || m.Question[0].Qtype != req.Question[0].Qtype || m.Question[0].Qclass != dns.ClassINET ||
		!strings.EqualFold(m.Question[0].Name, req.Question[0].Name) {
		return errors.New("the answer to another question")
	}
	if m.Question[0].Name != req.Question[0].Name {
		return errCase
	}
	return nil
}

// mixCase sets each letter's case at random.
func mixCase(name string) string {
	b := []byte(name)
	random := make([]byte, len(b))
	rand.Read(random)
	for i, c := range b {
		if 'a' <= c && c <= 'z' && random[i]&1 != 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// joinText undoes the master file escapes in which the strings come, and joins them.
func joinText(txt []string) string {
	var s strings.Builder
	for _, t := range txt {
		for i := 0; i < len(t); i++ {
			if t[i] != '\\' || i+1 == len(t) {
				s.WriteByte(t[i])
				continue
			}
			i++
			if i+2 < len(t) && isDigit(t[i]) && isDigit(t[i+1]) && isDigit(t[i+2]) {
				s.WriteByte(byte(int(t[i]-'0')*100 + int(t[i+1]-'0')*10 + int(t[i+2]-'0')))
				i += 2
				continue
			}
			s.WriteByte(t[i])
		}
	}
	return s.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func decodeHex(s string) ([]byte, bool) {
	b, err := hex.DecodeString(s)
	return b, err == nil
}
