package imapclient

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"postroad/imap"
)

// Enable puts extensions in force.
func (c *Client) Enable(caps ...imap.Capability) error {
	words := make([]string, len(caps))
	for i, w := range caps {
		words[i] = string(w)
	}
	all, err := c.Do("ENABLE " + strings.Join(words, " "))
	for _, r := range all {
		for _, v := range r.Values {
			if r.Name == "ENABLED" && (imap.EqualFold(v.Text, string(imap.CapUTF8Accept)) || imap.EqualFold(v.Text, string(imap.CapIMAP4rev2))) {
				c.utf8 = true
			}
		}
	}
	return err
}

// Mailbox is what SELECT tells.
type Mailbox struct {
	Exists, UIDValidity, UIDNext uint32
	HighestModSeq                uint64
	ReadOnly                     bool
	Responses                    []*Response
}

// name renders a mailbox name. Names that would need a literal do not exist: they have no
// control characters.
func (c *Client) name(mailbox string) string {
	return string(imap.AppendMailbox(nil, mailbox, c.utf8))
}

// Select opens a mailbox; parameters, if any, stand in parentheses: "CONDSTORE".
func (c *Client) Select(mailbox string, parameters ...string) (*Mailbox, error) {
	return c.open("SELECT", mailbox, parameters)
}

// Examine opens a mailbox without the right to change it.
func (c *Client) Examine(mailbox string, parameters ...string) (*Mailbox, error) {
	return c.open("EXAMINE", mailbox, parameters)
}

func (c *Client) open(command, mailbox string, parameters []string) (*Mailbox, error) {
	command += " " + c.name(mailbox)
	if len(parameters) > 0 {
		command += " (" + strings.Join(parameters, " ") + ")"
	}
	all, err := c.Do(command)
	if err != nil {
		return nil, err
	}
	m := &Mailbox{Responses: all}
	for _, r := range all {
		if r.Name == "EXISTS" {
			m.Exists = r.Number
		}
		word, arg, _ := strings.Cut(r.Code, " ")
		n, _ := strconv.ParseUint(arg, 10, 64) // other codes have no number
		switch word {
		case "UIDVALIDITY":
			m.UIDValidity = uint32(n)
		case "UIDNEXT":
			m.UIDNext = uint32(n)
		case "HIGHESTMODSEQ":
			m.HighestModSeq = n
		case "READ-ONLY":
			m.ReadOnly = true
		}
	}
	return m, nil
}

// Create makes a mailbox.
func (c *Client) Create(mailbox string) error { return c.do("CREATE " + c.name(mailbox)) }

// Delete deletes a mailbox.
func (c *Client) Delete(mailbox string) error { return c.do("DELETE " + c.name(mailbox)) }

// Rename renames a mailbox.
func (c *Client) Rename(mailbox, newName string) error {
	return c.do("RENAME " + c.name(mailbox) + " " + c.name(newName))
}

// Subscribe subscribes to a mailbox.
func (c *Client) Subscribe(mailbox string) error { return c.do("SUBSCRIBE " + c.name(mailbox)) }

func (c *Client) do(command string) error {
	_, err := c.Do(command)
	return err
}

// Listed is a mailbox that LIST tells.
type Listed struct {
	Name       string
	Delimiter  string
	Attributes []string
}

// List lists the mailboxes that match a pattern.
func (c *Client) List(reference, pattern string) ([]Listed, error) {
	all, err := c.Do("LIST " + quoted(c.name(reference)) + " " + quoted(c.name(pattern)))
	if err != nil {
		return nil, err
	}
	var out []Listed
	for _, r := range all {
		if r.Name != "LIST" || len(r.Values) < 3 {
			continue
		}
		name, err := imap.DecodeMailbox(r.Values[2].Text, c.utf8)
		if err != nil {
			name = r.Values[2].Text
		}
		l := Listed{Name: name, Delimiter: r.Values[1].Text}
		for _, a := range r.Values[0].List {
			l.Attributes = append(l.Attributes, a.Text)
		}
		out = append(out, l)
	}
	return out, nil
}

// quoted puts an atom between quotes; a pattern's wildcards need none.
func quoted(s string) string {
	if strings.HasPrefix(s, `"`) {
		return s
	}
	return `"` + s + `"`
}

// Status asks for items of a mailbox and returns the numbers by name.
func (c *Client) Status(mailbox string, items imap.StatusItems) (map[string]uint64, error) {
	all, err := c.Do("STATUS " + c.name(mailbox) + " " + items.String())
	if err != nil {
		return nil, err
	}
	out := map[string]uint64{}
	for _, r := range all {
		if r.Name == "STATUS" && len(r.Values) == 2 {
			l := r.Values[1].List
			for i := 0; i+1 < len(l); i += 2 {
				out[strings.ToUpper(l[i].Text)] = l[i+1].Number()
			}
		}
	}
	return out, nil
}

// Fetch fetches items, as the command has them, of a set, and gives each response to f.
// Literals of sections go to literal as they come, if it is not nil. An error of either
// function leaves the connection unusable.
func (c *Client) Fetch(set imap.NumSet, items string, literal LiteralFunc, f func(*Response) error) error {
	command := verb(set, "FETCH") + " " + set.String() + " " + items
	tag := c.start(command + "\r\n")
	if err := c.flush(); err != nil {
		return err
	}
	c.in.literal = literal
	defer func() { c.in.literal = nil }()
	for {
		r, err := c.read()
		switch {
		case err != nil:
			return err
		case r.Tag == tag && r.Status == imap.OK:
			return nil
		case r.Tag == tag:
			return refused("FETCH", r)
		case r.Name == "FETCH" && f != nil:
			if err := f(r); err != nil {
				return err
			}
		}
	}
}

// verb puts UID before a command on UIDs.
func verb(set imap.NumSet, name string) string {
	if set.UID {
		return "UID " + name
	}
	return name
}

// Store changes flags; what is "+FLAGS", "-FLAGS.SILENT" and the like.
func (c *Client) Store(set imap.NumSet, what string, flags ...imap.Flag) ([]*Response, error) {
	return c.Do(verb(set, "STORE") + " " + set.String() + " " + what + " " + string(imap.AppendFlags(nil, flags)))
}

// Search returns the UIDs of the messages that criteria, as the command has them, find.
func (c *Client) Search(criteria string) (imap.UIDSet, error) {
	all, err := c.Do("UID SEARCH " + criteria)
	if err != nil {
		return nil, err
	}
	var found imap.UIDSet
	for _, r := range all {
		switch r.Name {
		case "SEARCH":
			for _, v := range r.Values {
				found.Add(uint32(v.Number()))
			}
		case "ESEARCH":
			for i, v := range r.Values {
				if v.Text == "ALL" && i+1 < len(r.Values) {
					set, err := imap.ParseUIDSet(r.Values[i+1].Text)
					if err != nil {
						return nil, err
					}
					found.AddSet(set)
				}
			}
		}
	}
	return found, nil
}

// Sort returns the UIDs of the messages that criteria, as the command has them, find, in the
// order of the keys (RFC 5256).
func (c *Client) Sort(keys []imap.SortKey, criteria string) ([]uint32, error) {
	all, err := c.Do("UID SORT " + imap.FormatSortKeys(keys) + " UTF-8 " + criteria)
	if err != nil {
		return nil, err
	}
	var found []uint32
	for _, r := range all {
		if r.Name == "SORT" {
			for _, v := range r.Values {
				if v.Kind == Atom {
					found = append(found, uint32(v.Number()))
				}
			}
		}
	}
	return found, nil
}

// Thread returns the UIDs of the messages that criteria find as threads (RFC 5256).
func (c *Client) Thread(algorithm imap.ThreadAlgorithm, criteria string) ([]imap.ThreadNode, error) {
	all, err := c.Do("UID THREAD " + algorithm.String() + " UTF-8 " + criteria)
	if err != nil {
		return nil, err
	}
	var threads []imap.ThreadNode
	for _, r := range all {
		threads = append(threads, r.Threads...)
	}
	return threads, nil
}

// Message is one message for Append.
type Message struct {
	Flags []imap.Flag
	Date  time.Time // zero: now
	Size  int64
	Body  io.Reader
}

// Append adds messages to a mailbox, all or none. Where the server tells, it returns
// UIDVALIDITY and UIDs.
func (c *Client) Append(mailbox string, messages ...Message) (uint32, imap.UIDSet, error) {
	tag := c.start("APPEND " + c.name(mailbox))
	for _, m := range messages {
		head := []byte{' '}
		if len(m.Flags) > 0 {
			head = append(imap.AppendFlags(head, m.Flags), ' ')
		}
		if !m.Date.IsZero() {
			head = append(imap.AppendDateTime(head, m.Date), ' ')
		}
		_, _ = c.out.Write(head)
		if err := c.literal(tag, "APPEND", m.Size, m.Body); err != nil {
			return 0, nil, err
		}
	}
	all, err := c.finish(tag, "APPEND")
	if err != nil {
		return 0, nil, err
	}
	return uidCode("APPENDUID", all[len(all)-1].Code)
}

// uidCode reads a response code of RFC 4315: its UIDVALIDITY and its last set.
func uidCode(word, code string) (uint32, imap.UIDSet, error) {
	f := strings.Fields(code)
	if len(f) < 3 || f[0] != word {
		return 0, nil, nil
	}
	validity, err := strconv.ParseUint(f[1], 10, 32)
	if err != nil {
		return 0, nil, errSyntax
	}
	uids, err := imap.ParseUIDSet(f[len(f)-1])
	return uint32(validity), uids, err
}

// Copy copies messages and returns, where the server tells, what UIDs they have got.
func (c *Client) Copy(set imap.NumSet, mailbox string) (imap.UIDSet, error) {
	return c.copy("COPY", set, mailbox)
}

// Move moves messages.
func (c *Client) Move(set imap.NumSet, mailbox string) (imap.UIDSet, error) {
	return c.copy("MOVE", set, mailbox)
}

func (c *Client) copy(name string, set imap.NumSet, mailbox string) (imap.UIDSet, error) {
	all, err := c.Do(verb(set, name) + " " + set.String() + " " + c.name(mailbox))
	if err != nil {
		return nil, err
	}
	var dest imap.UIDSet
	for _, r := range all {
		_, uids, err := uidCode("COPYUID", r.Code)
		if err != nil {
			return nil, err
		}
		dest.AddSet(uids)
	}
	return dest, nil
}

// Expunge removes what has \Deleted.
func (c *Client) Expunge() ([]*Response, error) { return c.Do("EXPUNGE") }

// Idle waits for updates and gives each to f until f returns false or the time is over,
// then ends IDLE. With compression on, time that runs out breaks the connection.
func (c *Client) Idle(timeout time.Duration, f func(*Response) bool) error {
	tag := c.start("IDLE\r\n")
	if err := c.flush(); err != nil {
		return err
	}
	saved := c.Timeout
	defer func() { c.Timeout = saved }()
	end := time.Now().Add(timeout)
	for {
		// Only the start of a response may time out: behind it the rest follows.
		if err := c.conn.SetReadDeadline(end); err != nil {
			return err
		}
		if _, err := c.in.b.Peek(1); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			return err
		}
		r, err := c.read()
		if err != nil {
			return err
		}
		if r.Tag == tag {
			return refused("IDLE", r)
		}
		if r.Tag == "*" && !f(r) {
			break
		}
	}
	_, _ = c.out.WriteString("DONE")
	_, err := c.finish(tag, "IDLE")
	return err
}
