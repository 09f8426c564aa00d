package jmap

import (
	"context"
	"encoding/json"
)

// Method is one method that a server offers.
type Method struct {
	Name       string // "Email/get"
	Capability string // URI that a request's "using" must have (RFC 8620, 3.3)
	// Do answers a call. The result is the arguments of the response. A *MethodError is for
	// the client; any other error is ours: serverFail. Calls of one request run one after
	// the other, calls of different requests at once.
	Do func(ctx context.Context, c *Call) (any, error)
}

// Call is one method call with all references resolved.
type Call struct {
	Name string
	ID   string // the method call id, of the client's making
	Args json.RawMessage
	User any // who calls: what the server's Authenticate returned

	request *exchange // shared by the calls of one request
}

// exchange is what the calls of one request share.
type exchange struct {
	using   map[string]bool
	created map[ID]ID    // creation id → id (RFC 8620, 3.3)
	more    []Invocation // responses besides a call's own, in order
}

// Invocation is a method call or a response to one (RFC 8620, 3.2).
type Invocation struct {
	Name string
	Args json.RawMessage
	ID   string
}

// NewCall makes a call outside of a server, for tests and for methods that call others; it
// shares created ids and "using" with the call that it comes from, if there is one.
func NewCall(name string, args json.RawMessage, user any, from *Call, using ...string) *Call {
	c := &Call{Name: name, Args: args, User: user}
	if from != nil {
		c.ID, c.request = from.ID, from.request
		return c
	}
	c.request = &exchange{using: map[string]bool{}, created: map[ID]ID{}}
	for _, u := range using {
		c.request.using[u] = true
	}
	return c
}

// Using tells whether the request uses a capability.
func (c *Call) Using(uri string) bool { return c.request.using[uri] }

// Created remembers that a creation id stands for an object, for later calls of the request.
func (c *Call) Created(creation, id ID) { c.request.created[creation] = id }

// Resolve returns the id that stands behind "#creation", and any other id as it is. It
// returns false for a creation id that nothing was created under.
func (c *Call) Resolve(id ID) (ID, bool) {
	if len(id) == 0 || id[0] != '#' {
		return id, true
	}
	id, ok := c.request.created[id[1:]]
	return id, ok
}

// Also adds a response behind the call's own, such as that of an implicit call (RFC 8620,
// 5.4; RFC 8621, 7.5).
func (c *Call) Also(name string, args any) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	c.request.more = append(c.request.more, Invocation{Name: name, Args: raw, ID: c.ID})
	return nil
}

// Decode reads the arguments of a method that is none of the standard ones; names are those
// that it has.
func (c *Call) Decode(into any, names ...string) error {
	a, err := readArguments(c.Args)
	if err != nil {
		return err
	}
	var all Properties
	if err := a.rest(names, &all); err != nil {
		return err
	}
	if err := json.Unmarshal(c.Args, into); err != nil {
		return InvalidArguments("an argument is of the wrong type")
	}
	return nil
}
