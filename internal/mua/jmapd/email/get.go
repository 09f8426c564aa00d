package email

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/snooze"
	"postroad/jmap"
	"postroad/message"
)

// emailObjects is the data type Email as far as its objects go.
var emailObjects = jmap.DataType{Name: "Email", Capability: CapabilityMail, Property: func(name string) bool {
	return name == propertySnoozed || isEmailProperty(name)
}}

// bodyArguments are the arguments of Email/get and Email/parse besides the standard ones.
var bodyArguments = []string{"bodyProperties", "fetchTextBodyValues", "fetchHTMLBodyValues", "fetchAllBodyValues", "maxBodyValueBytes"}

// metadataProperties are not of the message itself (RFC 8621, 4.1.1).
var metadataProperties = []string{"id", "blobId", "threadId", "mailboxIds", "keywords", "size", "receivedAt"}

// messageDefaults are the properties of the message that are told where none are named.
var messageDefaults = []string{"messageId", "inReplyTo", "references", "sender", "from", "to", "cc", "bcc", "replyTo", "subject", "sentAt",
	"hasAttachment", "preview", "bodyValues", "textBody", "htmlBody", "attachments"}

// getDefaults are the properties where Email/get names none (RFC 8621, 4.2).
var getDefaults = append(slices.Clone(metadataProperties), messageDefaults...)

// isEmailProperty tells whether a name is a property of Email that may be asked for.
func isEmailProperty(name string) bool {
	if slices.Contains(getDefaults, name) || name == "headers" || name == "bodyStructure" {
		return true
	}
	_, ok := parseHeaderProperty(name)
	return ok
}

// request is what a call wants to know of each message.
type request struct {
	properties []property
	body       []string // bodyProperties
	fetch      fetch
	inside     bool // something is asked that only the stored structure or the message has
}

// property is one of them.
type property struct {
	name   string
	header *headerProperty // of "header:…" and of convenience properties
	short  bool            // a convenience property
}

// propertiesMax is how many properties one call may name: each field of a header is a look
// through all of it, for each message or part.
const propertiesMax = 200

// parseRequest reads the properties, which are known to be some, and the arguments about
// bodies.
func parseRequest(properties, defaults []string, extra jmap.Properties) (*request, error) {
	r := &request{body: bodyDefaults}
	if properties == nil {
		properties = defaults
	}
	if len(properties) > propertiesMax {
		return nil, jmap.InvalidArguments("properties: more than %d", propertiesMax)
	}
	for _, name := range properties {
		p := property{name: name}
		if h, ok := convenient(name); ok {
			p.header, p.short = &h, true
		} else if h, ok := parseHeaderProperty(name); ok {
			p.header = &h
		}
		r.inside = r.inside || name != propertySnoozed && !slices.Contains(metadataProperties, name)
		r.properties = append(r.properties, p)
	}
	var body []string
	err := errors.Join(argument(extra, "bodyProperties", &body), argument(extra, "fetchTextBodyValues", &r.fetch.text),
		argument(extra, "fetchHTMLBodyValues", &r.fetch.html), argument(extra, "fetchAllBodyValues", &r.fetch.all))
	if err != nil {
		return nil, jmap.InvalidArguments("%s", err)
	}
	if body != nil {
		r.body = body
	}
	if len(r.body) > propertiesMax {
		return nil, jmap.InvalidArguments("bodyProperties: more than %d", propertiesMax)
	}
	for _, name := range r.body {
		if !isBodyProperty(name) {
			return nil, jmap.InvalidArguments("bodyProperties: %q is no property of EmailBodyPart", name)
		}
	}
	var most float64
	if err := argument(extra, "maxBodyValueBytes", &most); err != nil || most < 0 || most > jmap.MaxInt || most != float64(int64(most)) {
		return nil, jmap.InvalidArguments("maxBodyValueBytes: no UnsignedInt")
	}
	r.fetch.most = int(most)
	return r, nil
}

// argument reads one argument; null leaves into alone.
func argument(extra jmap.Properties, name string, into any) error {
	raw := extra[name]
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: of the wrong type", name)
	}
	return nil
}

// getEmails is Email/get (RFC 8621, 4.2).
func (m *Methods) getEmails(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	snoozed := slices.Contains(args.Properties, propertySnoozed)
	if snoozed && !m.snoozes(c) {
		return nil, jmap.InvalidArguments("properties: %q needs %s in \"using\"", propertySnoozed, CapabilityCyrusMail)
	}
	a, err := m.house.Account(ctx, c, args.AccountID)
	if err != nil {
		return nil, methodError(err)
	}
	r, err := parseRequest(args.Properties, getDefaults, args.Extra)
	if err != nil {
		return nil, err
	}
	all, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return nil, methodError(err)
	}
	states, err := all.States(ctx)
	if err != nil {
		return nil, methodError(err)
	}
	result := &jmap.GetResult{State: states.Emails.String()}
	places, err := find(all, args.IDs, result)
	if err != nil {
		return nil, err
	}
	g := &getting{methods: m, account: a, all: all, request: r, result: result}
	if snoozed {
		if g.snoozed, err = m.snoozedOf(ctx, a, all, places); err != nil {
			return nil, methodError(err)
		}
	}
	if !r.inside {
		err = g.metadata(ctx, places)
	} else {
		err = g.messages(ctx, places)
	}
	if err != nil {
		return nil, methodError(err)
	}
	return result, nil
}

// find returns the places of messages by their ids, of all where none are named.
func find(all *mailstore.Emails, ids []jmap.ID, result *jmap.GetResult) ([]int, error) {
	if ids == nil {
		if all.Len() > jmap.DefaultLimits.ObjectsInGet {
			return nil, jmap.ErrRequestTooLarge.With("there are more than %d messages: ask Email/query for the ids of some", jmap.DefaultLimits.ObjectsInGet)
		}
		return slices.Collect(all.All()), nil
	}
	places := make([]int, 0, len(ids))
	for _, id := range ids {
		if p, ok := place(all, id); ok {
			places = append(places, p)
		} else {
			result.NotFound = append(result.NotFound, id)
		}
	}
	return places, nil
}

// place finds a message by its id.
func place(all *mailstore.Emails, id jmap.ID) (int, bool) {
	email, err := mailstore.ParseEmailID(string(id))
	if err != nil {
		return 0, false
	}
	return all.FindID(email)
}

// getting is one Email/get under way.
type getting struct {
	methods *Methods
	account *access.Account
	all     *mailstore.Emails
	request *request
	result  *jmap.GetResult
	snoozed map[mailstore.MessageID]snooze.Snoozed // where it is asked for
}

// metadata answers from what is held in memory alone.
func (g *getting) metadata(ctx context.Context, places []int) error {
	for _, p := range places {
		o := make(jmap.Object, len(g.request.properties))
		if err := g.fill(ctx, o, g.all.Email(p), nil); err != nil {
			return err
		}
		g.result.List = append(g.result.List, o)
	}
	return nil
}

// messages answers with the help of what is stored of each message.
func (g *getting) messages(ctx context.Context, places []int) error {
	ids := make([]mailstore.MessageID, len(places))
	for i, p := range places {
		ids[i] = g.all.Message(p)
	}
	for r, err := range g.account.Records(ctx, ids, mailstore.WantStructure) {
		if err != nil {
			return err
		}
		email := g.all.Email(places[r.Index])
		if r.Missing {
			g.result.NotFound = append(g.result.NotFound, jmap.ID(email.ID.String()))
			continue
		}
		o, err := g.message(ctx, email, r)
		if err != nil {
			return err
		}
		g.result.List = append(g.result.List, o)
	}
	return nil
}

// message makes the object of one message.
func (g *getting) message(ctx context.Context, email mailstore.Email, r *mailstore.Record) (jmap.Object, error) {
	structure, err := message.Decode(r.Structure)
	if err != nil {
		return nil, fmt.Errorf("structure of message %s: %w", email.ID, err)
	}
	body := r.Body
	c := &content{Message: structure, blob: messageBlob(email.ID.Message), sizes: g.methods.sizes,
		open: func(ctx context.Context) (io.ReaderAt, error) { return g.account.Open(ctx, body) }}
	defer c.close()
	o := make(jmap.Object, len(g.request.properties))
	return o, g.fill(ctx, o, email, c)
}

// fill sets the properties asked for; c is nil where none is of the message itself.
func (g *getting) fill(ctx context.Context, o jmap.Object, email mailstore.Email, c *content) error {
	for i := range g.request.properties {
		p := &g.request.properties[i]
		switch p.name {
		case "id":
			o[p.name] = jmap.ID(email.ID.String())
		case "blobId":
			o[p.name] = messageBlob(email.ID.Message)
		case "threadId":
			o[p.name] = mailstore.FormatThreadID(email.Thread)
		case "mailboxIds":
			o[p.name] = mailboxSet(email.Mailboxes)
		case "keywords":
			o[p.name] = keywordSet(email.Flags, email.Keywords)
		case "size":
			o[p.name] = email.Size
		case "receivedAt":
			o[p.name] = jmap.FormatUTCDate(time.Unix(email.Received, 0))
		case propertySnoozed:
			s, there := g.snoozed[email.ID.Message]
			o[p.name] = formatSnoozed(g.all, s, there)
		default:
			v, err := c.property(ctx, p, g.request)
			if err != nil {
				return err
			}
			o[p.name] = v
		}
	}
	return nil
}

// mailboxSet writes ids as Id[Boolean].
func mailboxSet(ids []mailstore.MailboxID) map[string]bool {
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[mailstore.FormatMailboxID(id)] = true
	}
	return set
}

// systemKeywords are the flags of IMAP that JMAP calls otherwise (RFC 8621, 4.1.1).
var systemKeywords = []struct {
	name string
	flag mailstore.Flags
}{{"$seen", mailstore.Seen}, {"$answered", mailstore.Answered}, {"$flagged", mailstore.Flagged}, {"$draft", mailstore.Draft}}

// keywordSet writes flags and keywords as String[Boolean].
func keywordSet(flags mailstore.Flags, keywords []string) map[string]bool {
	set := make(map[string]bool, len(keywords)+1)
	for _, s := range systemKeywords {
		if flags&s.flag != 0 {
			set[s.name] = true
		}
	}
	for _, k := range keywords {
		set[k] = true
	}
	return set
}

// property gives one property of the message itself.
func (c *content) property(ctx context.Context, p *property, r *request) (any, error) {
	if p.short {
		if v, ok := summarized(c.Message, p.name); ok {
			return v, nil
		}
	}
	if p.header != nil {
		block, err := c.headerBlock(ctx)
		if err != nil {
			return nil, err
		}
		return p.header.value(block), nil
	}
	switch p.name {
	case "headers":
		block, err := c.headerBlock(ctx)
		if err != nil {
			return nil, err
		}
		return headers(block), nil
	case "hasAttachment":
		return c.HasAttachment, nil
	case "preview":
		return c.Preview, nil
	case "bodyValues":
		return c.values(ctx, &r.fetch)
	case "bodyStructure":
		return c.partObject(ctx, c.root(), r.body, true)
	}
	c.lists()
	switch p.name {
	case "textBody":
		return c.partObjects(ctx, c.text, r.body)
	case "htmlBody":
		return c.partObjects(ctx, c.html, r.body)
	case "attachments":
		return c.partObjects(ctx, c.attached, r.body)
	}
	return nil, nil
}

// partObjects gives a flat list of parts.
func (c *content) partObjects(ctx context.Context, parts []*part, properties []string) ([]jmap.Object, error) {
	list := make([]jmap.Object, 0, len(parts))
	for _, p := range parts {
		o, err := c.partObject(ctx, p, properties, false)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, nil
}
