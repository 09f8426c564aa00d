package access

import (
	"testing"

	"postroad/internal/mailstore"
	"postroad/jmap"
)

func TestPrincipalID(t *testing.T) {
	for _, s := range []mailstore.Subject{
		{Kind: mailstore.SubjectAccount, Account: 12345},
		{Kind: mailstore.SubjectAnyone},
		{Kind: mailstore.SubjectGroup, Group: "team@bücher.example"},
	} {
		id, ok := PrincipalID(s)
		if got, known := ParsePrincipal(id); !ok || !known || got != s {
			t.Errorf("%v becomes %q and then %v", s, id, got)
		}
	}
	for _, bad := range []jmap.ID{"", "A", "Q", "Ax", "Q====", "R0000000000001", "Q\x00"} {
		if s, ok := ParsePrincipal(bad); ok {
			t.Errorf("%q is %v", bad, s)
		}
	}
}
