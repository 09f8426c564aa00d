package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"postroad/sasl"
)

// Errors of the limiter; the client is told nothing.
var (
	errTooMany        = errors.New("too many connections")
	errTooManyAddress = errors.New("too many connections of this address without log-in")
)

// limiter bounds the connections of mail programs: all together, and those of one address
// that have not logged in. Which connection of an address logged in is not followed, only
// how many.
type limiter struct {
	allMax, addressMax int

	mu        sync.Mutex
	all       int                      // mu
	addresses map[netip.Prefix]*people // mu
}

// people are the connections of one address.
type people struct{ open, loggedIn int }

func newLimiter(allMax, addressMax int) *limiter {
	return &limiter{allMax: allMax, addressMax: addressMax, addresses: map[netip.Prefix]*people{}}
}

// admit counts a connection in; done counts it out.
func (l *limiter) admit(c net.Conn) (done func(), err error) {
	return l.enter(networkOf(clientAddr(c.RemoteAddr())), l.addressMax)
}

// enter counts a connection of a network in, which may have so many without log-in.
func (l *limiter) enter(network netip.Prefix, addressMax int) (done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.addresses[network]
	if p == nil {
		p = new(people)
	}
	switch {
	case l.all >= l.allMax:
		return nil, errTooMany
	case p.open-p.loggedIn >= addressMax:
		return nil, errTooManyAddress
	}
	l.addresses[network] = p
	l.all++
	p.open++
	return sync.OnceFunc(func() { l.leave(network) }), nil
}

func (l *limiter) leave(network netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.addresses[network]
	l.all--
	p.open--
	p.loggedIn = min(p.loggedIn, p.open)
	if p.open == 0 {
		delete(l.addresses, network)
	}
}

// loggedIn notes that one connection of the address has.
func (l *limiter) loggedIn(client netip.Addr) { l.loggedInNetwork(networkOf(client)) }

func (l *limiter) loggedInNetwork(network netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.addresses[network]; p != nil {
		p.loggedIn = min(p.loggedIn+1, p.open)
	}
}

func clientAddr(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr()
	}
	return netip.Addr{}
}

// watch wraps a backend so that log-ins are noted.
func (l *limiter) watch(b sasl.Backend, client netip.Addr) sasl.Backend {
	return &watchedBackend{b, l, client}
}

type watchedBackend struct {
	sasl.Backend
	limiter *limiter
	client  netip.Addr
}

func (b *watchedBackend) Password(ctx context.Context, authzid, user, password string) (any, error) {
	identity, err := b.Backend.Password(ctx, authzid, user, password)
	if err == nil {
		b.limiter.loggedIn(b.client)
	}
	return identity, err
}

func (b *watchedBackend) Verifier(ctx context.Context, authzid, user string) (sasl.Verifier, error) {
	v, err := b.Backend.Verifier(ctx, authzid, user)
	if finish := v.Finish; finish != nil {
		v.Finish = func(ctx context.Context, key int) (any, error) {
			identity, err := finish(ctx, key)
			if err == nil {
				b.limiter.loggedIn(b.client)
			}
			return identity, err
		}
	}
	return v, err
}
