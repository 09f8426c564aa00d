package email

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// parsed is the response of Email/parse and MDN/parse.
type parsed struct {
	AccountID   jmap.ID                 `json:"accountId"`
	Parsed      map[jmap.ID]jmap.Object `json:"parsed"`
	NotParsable []jmap.ID               `json:"notParsable"`
	NotFound    []jmap.ID               `json:"notFound"`

	work int64 // octets looked at
}

// blobParser makes the object of a blob; errNoMessage where it is none.
type blobParser func(ctx context.Context, a *access.Account, o *octets, id jmap.ID) (jmap.Object, error)

// parseMethod answers a method that reads blobs one by one, with the parser that prepare
// makes for its arguments.
func (m *Methods) parseMethod(ctx context.Context, c *jmap.Call, known []string, prepare func(args jmap.Properties) (blobParser, error)) (any, error) {
	var args jmap.Properties
	var account jmap.ID
	var ids []jmap.ID
	if err := readArguments(c, &args, append(known, "accountId", "blobIds")...); err != nil {
		return nil, err
	}
	if err := errors.Join(argument(args, "accountId", &account), argument(args, "blobIds", &ids)); err != nil {
		return nil, jmap.InvalidArguments("%s", err)
	}
	a, err := m.house.Account(ctx, c, account)
	if err != nil {
		return nil, methodError(err)
	}
	switch {
	case ids == nil:
		return nil, jmap.InvalidArguments("blobIds: missing")
	case len(ids) > jmap.DefaultLimits.ObjectsInGet:
		return nil, jmap.ErrRequestTooLarge.With("more than %d ids", jmap.DefaultLimits.ObjectsInGet)
	}
	f, err := prepare(args)
	if err != nil {
		return nil, err
	}
	r := &parsed{AccountID: account}
	seen := map[jmap.ID]bool{}
	for _, given := range ids {
		id, ok := c.Resolve(given)
		if seen[given] || seen[id] {
			continue
		}
		seen[given], seen[id] = true, true
		if !ok {
			r.NotFound = append(r.NotFound, given)
			continue
		}
		if err := m.parseOne(ctx, c, a, id, r, f); err != nil {
			return nil, methodError(err)
		}
	}
	return r, nil
}

// parseOne reads one blob.
func (m *Methods) parseOne(ctx context.Context, c *jmap.Call, a *access.Account, id jmap.ID, r *parsed, f blobParser) error {
	o, err := m.openBlob(ctx, access.Of(c), a, id)
	if errors.Is(err, jmap.ErrBlobNotFound) {
		r.NotFound = append(r.NotFound, id)
		return nil
	}
	if err != nil {
		return err
	}
	defer o.Close()
	if r.work += o.size; r.work > blobWorkMax {
		return errBlobWork
	}
	object, err := f(ctx, a, o, id)
	if errors.Is(err, errNoMessage) {
		r.NotParsable = append(r.NotParsable, id)
		return nil
	}
	if err != nil {
		return err
	}
	if r.Parsed == nil {
		r.Parsed = map[jmap.ID]jmap.Object{}
	}
	r.Parsed[id] = object
	return nil
}

// readArguments reads the arguments of a method that is none of the standard ones, which
// has those that are known and no others.
func readArguments(c *jmap.Call, args *jmap.Properties, known ...string) error {
	if err := json.Unmarshal(c.Args, args); err != nil || *args == nil {
		return jmap.InvalidArguments("the arguments are no object")
	}
	for name := range *args {
		if !slices.Contains(known, name) {
			return jmap.InvalidArguments("%s: no argument of %s", name, c.Name)
		}
	}
	return nil
}

// parseEmails is Email/parse (RFC 8621, 4.9).
func (m *Methods) parseEmails(ctx context.Context, c *jmap.Call) (any, error) {
	return m.parseMethod(ctx, c, append([]string{"properties"}, bodyArguments...),
		func(args jmap.Properties) (blobParser, error) {
			var properties []string
			if err := argument(args, "properties", &properties); err != nil {
				return nil, jmap.InvalidArguments("%s", err)
			}
			for _, p := range properties {
				if !isEmailProperty(p) {
					return nil, jmap.InvalidArguments("properties: %q is no property of Email", p)
				}
			}
			r, err := parseRequest(properties, messageDefaults, args)
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context, _ *access.Account, o *octets, id jmap.ID) (jmap.Object, error) {
				return m.parseEmail(ctx, o, id, r)
			}, nil
		})
}

// parseEmail makes the object of a message in a blob. Metadata it has none, but for blobId
// and size.
func (m *Methods) parseEmail(ctx context.Context, o *octets, id jmap.ID, r *request) (jmap.Object, error) {
	if o.structure == nil {
		var err error
		if o.structure, err = parseMessage(o); err != nil {
			return nil, errNoMessage
		}
	}
	c := &content{Message: o.structure, blob: id, sizes: m.sizes, octets: o.ReaderAt,
		open: func(context.Context) (io.ReaderAt, error) { return o.ReaderAt, nil }}
	out := make(jmap.Object, len(r.properties))
	for i := range r.properties {
		p := &r.properties[i]
		switch p.name {
		case "blobId":
			out[p.name] = id
		case "size":
			out[p.name] = o.size
		case "id", "threadId", "mailboxIds", "keywords", "receivedAt":
			out[p.name] = nil
		default:
			v, err := c.property(ctx, p, r)
			if err != nil {
				return nil, err
			}
			out[p.name] = v
		}
	}
	return out, nil
}
