package access

import "testing"

func TestMay(t *testing.T) {
	const own = "https://example.test/jmap/settings"
	for _, test := range []struct {
		name       string
		scopes     []string
		capability string
		want       bool
	}{
		{"no token", nil, own, true},
		{"no token, unknown", nil, "x", true},
		{"mail", []string{ScopeMail}, "urn:ietf:params:jmap:mail", true},
		{"mail for core", []string{ScopeMail}, "urn:ietf:params:jmap:core", true},
		{"contacts for core", []string{ScopeContacts}, "urn:ietf:params:jmap:core", true},
		{"contacts for mail", []string{ScopeContacts}, "urn:ietf:params:jmap:mail", false},
		{"mail for contacts", []string{ScopeMail}, "urn:ietf:params:jmap:contacts", false},
		{"two", []string{ScopeMail, ScopeContacts}, "urn:ietf:params:jmap:contacts", true},
		{"all of them for our own", []string{ScopeMail, ScopeContacts, ScopeCalendars}, own, false},
		{"none at all", []string{}, "urn:ietf:params:jmap:core", false},
		{"only offline", []string{"offline_access"}, "urn:ietf:params:jmap:core", false},
	} {
		if got := (&User{Scopes: test.scopes}).May(test.capability); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
