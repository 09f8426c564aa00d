package access

import "slices"

// Scopes of OAuth, as the profile for open public clients names them
// (draft-ietf-mailmaint-oauth-public, 3.9).
const (
	ScopeMail      = "urn:ietf:params:oauth:scope:mail"
	ScopeContacts  = "urn:ietf:params:oauth:scope:contacts"
	ScopeCalendars = "urn:ietf:params:oauth:scope:calendars"
)

// scopesOf are the scopes of which one is enough for a capability of JMAP. A capability that
// is not here, our own ones among them, is for who is not bound to scopes.
var scopesOf = map[string][]string{
	"urn:ietf:params:jmap:core":             {ScopeMail, ScopeContacts, ScopeCalendars},
	"urn:ietf:params:jmap:websocket":        {ScopeMail, ScopeContacts, ScopeCalendars},
	"urn:ietf:params:jmap:webpush-vapid":    {ScopeMail, ScopeContacts, ScopeCalendars},
	"urn:ietf:params:jmap:blob":             {ScopeMail, ScopeContacts, ScopeCalendars},
	"urn:ietf:params:jmap:quota":            {ScopeMail, ScopeContacts, ScopeCalendars},
	"urn:ietf:params:jmap:principals":       {ScopeMail, ScopeContacts, ScopeCalendars},
	"urn:ietf:params:jmap:principals:owner": {ScopeMail, ScopeContacts, ScopeCalendars},
	"urn:ietf:params:jmap:mail":             {ScopeMail},
	"urn:ietf:params:jmap:mail:share":       {ScopeMail},
	"urn:ietf:params:jmap:submission":       {ScopeMail},
	"urn:ietf:params:jmap:vacationresponse": {ScopeMail},
	"urn:ietf:params:jmap:mdn":              {ScopeMail},
	"urn:ietf:params:jmap:smimeverify":      {ScopeMail},
	"urn:ietf:params:jmap:sieve":            {ScopeMail},
	"https://cyrusimap.org/ns/jmap/mail":    {ScopeMail},
	"urn:ietf:params:jmap:contacts":         {ScopeContacts},
	"urn:ietf:params:jmap:contacts:parse":   {ScopeContacts},
	"urn:ietf:params:jmap:calendars":        {ScopeCalendars},
	"urn:ietf:params:jmap:calendars:parse":  {ScopeCalendars},

	"urn:ietf:params:jmap:principals:availability": {ScopeCalendars},
}

// May tells whether the user may use a capability of JMAP with what he proved himself with.
// The session object leaves out the others, and a request that names one is refused as
// unknownCapability (RFC 8620, 3.6.1).
func (u *User) May(capability string) bool {
	if u.Scopes == nil {
		return true
	}
	return slices.ContainsFunc(scopesOf[capability], func(s string) bool { return slices.Contains(u.Scopes, s) })
}
