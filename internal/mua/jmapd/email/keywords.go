package email

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"postroad/internal/mailstore"
	"postroad/jmap"
)

// keywordsMax is how many keywords a message may have: what a mailbox has room for.
const keywordsMax = mailstore.KeywordsMax

// errTooManyKeywords is of RFC 8621, 4.6.
var errTooManyKeywords = jmap.NewSetError("tooManyKeywords", "more than %d keywords", keywordsMax)

// errTooManyMailboxes is of RFC 8621, 4.6: one commit takes no more.
var errTooManyMailboxes = jmap.NewSetError("tooManyMailboxes", "more mailboxes than one message can be put into at once")

// isKeyword tells whether s can be a keyword (RFC 8621, 4.1.1), no longer than the mail
// store keeps it.
func isKeyword(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e || strings.IndexByte(`(){]%*"\`, s[i]) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= mailstore.KeywordBytes
}

// readSet reads Id[Boolean] or String[Boolean], all of whose values must be true, in order.
func readSet(raw json.RawMessage) (names []string, ok bool) {
	var set map[string]bool
	if len(raw) == 0 || json.Unmarshal(raw, &set) != nil || set == nil {
		return nil, false
	}
	for _, on := range set {
		if !on {
			return nil, false
		}
	}
	return slices.Sorted(maps.Keys(set)), true
}

// splitKeywords makes system flags and keywords of names, each once, in lower case.
func splitKeywords(names []string, ok bool) (flags mailstore.Flags, keywords []string, _ bool) {
	if !ok {
		return 0, nil, false
	}
next:
	for _, name := range names {
		if !isKeyword(name) {
			return 0, nil, false
		}
		name = strings.ToLower(name)
		for _, s := range systemKeywords {
			if s.name == name {
				flags |= s.flag
				continue next
			}
		}
		if !slices.Contains(keywords, name) {
			keywords = append(keywords, name)
		}
	}
	return flags, keywords, true
}

// readUTCDate reads a UTCDate.
func readUTCDate(raw json.RawMessage) (time.Time, bool) {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return time.Time{}, false
	}
	return jmap.ParseUTCDate(s)
}

// visible finds a mailbox that the user may look up, by its id or the creation id of this
// request; where there is none it is one without id.
func visible(all *mailstore.Emails, c *jmap.Call, given jmap.ID) (mailstore.Visible, bool) {
	none := mailstore.Visible{Mailbox: new(mailstore.Mailbox)}
	id, ok := c.Resolve(given)
	if !ok {
		return none, false
	}
	box, err := mailstore.ParseObjectID('F', string(id))
	if err != nil {
		return none, false
	}
	for _, v := range all.Visible() {
		if v.ID == box && v.Recovery == nil {
			return v, true
		}
	}
	return none, false
}
