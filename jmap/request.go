package jmap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"runtime/debug"
	"strconv"
)

// responseOctetsMax is how long the responses of one request may become before no further
// call is made; what was made stays.
const responseOctetsMax = 256 << 20

// request is a Request object (RFC 8620, 3.3), and what it is over a WebSocket (RFC 8887, 4.3.2).
type request struct {
	using   []string
	calls   []Invocation
	created map[ID]ID       // nil: not given
	id      json.RawMessage // over a WebSocket; nil: not given
}

// parseRequest reads a text that is I-JSON.
func parseRequest(raw []byte) (*request, *Problem) {
	q := new(request)
	var using, calls bool
	object, err := members(raw, func(name, value []byte) error {
		switch string(name) {
		case "using":
			using = true
			return q.parseUsing(value)
		case "methodCalls":
			calls = true
			return q.parseCalls(value)
		case "createdIds":
			return q.parseCreated(value)
		case "id":
			q.id = bytes.Clone(value)
		}
		return nil // RFC 8620, 3.3: what is not known is ignored
	})
	switch {
	case err != nil:
		return nil, badRequest(ProblemNotRequest, "%s", err)
	case !object:
		return nil, badRequest(ProblemNotRequest, "the request is no object")
	case !using || !calls:
		return nil, badRequest(ProblemNotRequest, "using and methodCalls are needed")
	}
	return q, nil
}

func (q *request) parseUsing(raw []byte) error {
	list, err := items(raw, func(item []byte) error {
		uri, ok := text(item)
		if !ok {
			return errors.New("using: no list of strings")
		}
		q.using = append(q.using, uri)
		return nil
	})
	if err == nil && !list {
		err = errors.New("using: no list")
	}
	return err
}

func (q *request) parseCalls(raw []byte) error {
	list, err := items(raw, func(item []byte) error {
		i, err := parseInvocation(item)
		q.calls = append(q.calls, i)
		return err
	})
	if err == nil && !list {
		err = errors.New("methodCalls: no list")
	}
	return err
}

// parseInvocation reads an Invocation (RFC 8620, 3.2).
func parseInvocation(raw []byte) (Invocation, error) {
	var i Invocation
	n, good := 0, true
	list, err := items(raw, func(item []byte) error {
		ok := false
		switch n {
		case 0:
			i.Name, ok = text(item)
		case 1:
			i.Args, ok = bytes.TrimSpace(item), len(item) > 0 && item[0] == '{'
		case 2:
			i.ID, ok = text(item)
		}
		good = good && ok
		n++
		return nil
	})
	if err == nil && (!list || !good || n != 3) {
		err = errors.New("methodCalls: a call is a list of name, arguments and id")
	}
	return i, err
}

func (q *request) parseCreated(raw []byte) error {
	if isNull(raw) {
		return nil
	}
	q.created = map[ID]ID{}
	object, err := members(raw, func(name, value []byte) error {
		id, ok := text(value)
		if !ok || !ID(id).Valid() || !ID(name).Valid() {
			return errors.New("createdIds: no map of ids")
		}
		q.created[ID(name)] = ID(id)
		return nil
	})
	if err == nil && !object {
		err = errors.New("createdIds: no object")
	}
	return err
}

// response is what became of a request.
type response struct {
	responses []Invocation
	created   map[ID]ID // nil: not to be told
	state     string    // of the session
}

// read checks and parses a request (RFC 8620, 3.6.1), in the order of the RFC's errors.
func (s *Server) read(raw []byte) (*request, *Problem) {
	if err := CheckIJSON(raw); err != nil {
		return nil, badRequest(ProblemNotJSON, "no I-JSON (RFC 7493): %s", err)
	}
	q, p := parseRequest(raw)
	if p != nil {
		return nil, p
	}
	for _, uri := range q.using {
		if !s.capable(uri) {
			p := badRequest(ProblemUnknownCapability, "%.200q is not supported by this server", uri)
			return q, p
		}
	}
	if len(q.calls) > s.limits.CallsInRequest {
		return q, overLimit("maxCallsInRequest", "a request may have %d method calls", s.limits.CallsInRequest)
	}
	return q, nil
}

// run makes the calls of a request, one after the other. The error is that of the session,
// or of a client that has gone.
func (s *Server) run(ctx context.Context, user any, q *request) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.RequestTime)
	defer cancel()
	for _, uri := range q.using {
		if s.o.May != nil && !s.o.May(user, uri) {
			return nil, badRequest(ProblemUnknownCapability, "%.200q may not be used with this log-in", uri)
		}
	}
	session, err := s.session(ctx, user)
	if err != nil {
		return nil, err
	}
	x := &exchange{using: map[string]bool{}, created: q.created}
	for _, uri := range q.using {
		x.using[uri] = true
	}
	if x.created == nil {
		x.created = map[ID]ID{}
	}
	r := &response{state: session.state}
	if q.created != nil {
		r.created = x.created
	}
	references, octets := &resolver{}, 0
	for _, in := range q.calls {
		if err := context.Cause(ctx); errors.Is(err, context.Canceled) {
			return nil, err
		}
		from := len(r.responses)
		if octets > responseOctetsMax {
			r.responses = append(r.responses, errorInvocation(ErrServerUnavailable.With("the responses before are %d octets long; ask in several requests", octets), in.ID))
			continue
		}
		references.responses = r.responses
		r.responses = s.call(ctx, &Call{Name: in.Name, ID: in.ID, User: user, request: x}, in.Args, references)
		for _, made := range r.responses[from:] {
			octets += len(made.Args)
		}
	}
	return r, nil
}

// call makes one call and returns all responses so far with its own behind them.
func (s *Server) call(ctx context.Context, c *Call, raw json.RawMessage, references *resolver) (all []Invocation) {
	all = references.responses
	m, ok := s.methods[c.Name]
	if !ok || !c.Using(m.Capability) {
		return append(all, errorInvocation(ErrUnknownMethod, c.ID))
	}
	c.request.more = nil
	args, err := references.arguments(raw)
	var result json.RawMessage
	if err == nil {
		c.Args = args
		result, err = s.do(ctx, &m, c)
	}
	if err != nil {
		return append(all, errorInvocation(s.methodError(ctx, c, err), c.ID))
	}
	all = append(all, Invocation{Name: c.Name, Args: result, ID: c.ID})
	return append(all, c.request.more...)
}

// errPanic is what remains of a panic: it has been reported.
var errPanic = errors.New("panic")

// do runs a method and writes its result; a panic ends this call alone.
func (s *Server) do(ctx context.Context, m *Method, c *Call) (result json.RawMessage, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(v, debug.Stack())
			result, err = nil, errPanic
		}
	}()
	v, err := m.Do(ctx, c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// methodError is the error that the client is told.
func (s *Server) methodError(ctx context.Context, c *Call, err error) *MethodError {
	var told *MethodError
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, errPanic):
		return ErrServerFail.With("an error of the server, which was reported")
	case errors.Is(err, context.DeadlineExceeded):
		return ErrServerUnavailable.With("it took longer than %s; ask for less", s.limits.RequestTime)
	case ctx.Err() == nil:
		s.log.Error("a method failed", "method", c.Name, "error", err)
	}
	return ErrServerFail.With("an error of the server, which was logged")
}

func errorInvocation(e *MethodError, id string) Invocation {
	raw, err := json.Marshal(e)
	if err != nil { // a description in Extra that cannot be written
		raw = []byte(`{"type":"serverFail"}`)
	}
	return Invocation{Name: "error", Args: raw, ID: id}
}

// appendTo writes the Response object (RFC 8620, 3.4), with leading members of a WebSocket.
func (r *response) appendTo(out []byte, leading string) []byte {
	out = append(append(out, '{'), leading...)
	out = append(out, `"methodResponses":[`...)
	for i, in := range r.responses {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendString(append(out, '['), in.Name), ',')
		out = append(append(out, in.Args...), ',')
		out = append(appendString(out, in.ID), ']')
	}
	out = append(out, ']')
	if r.created != nil {
		created, err := json.Marshal(r.created)
		if err == nil { // a map of strings always can be written
			out = append(append(out, `,"createdIds":`...), created...)
		}
	}
	return append(appendString(append(out, `,"sessionState":`...), r.state), '}')
}

// appendString writes a JSON string.
func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			raw, err := json.Marshal(s)
			if err != nil { // strings always can be written
				raw = []byte(strconv.QuoteToASCII(s))
			}
			return append(out, raw...)
		}
	}
	return append(append(append(out, '"'), s...), '"')
}

// size is about how many octets appendTo writes.
func (r *response) size() int {
	n := 256 + 64*len(r.created)
	for _, in := range r.responses {
		n += len(in.Name) + len(in.Args) + len(in.ID) + 8
	}
	return n
}
