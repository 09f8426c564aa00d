package imapserver

import "testing"

// TestEnableTellsAllThatIsNew in whatever order it was asked for (RFC 5161, 3.2).
func TestEnableTellsAllThatIsNew(t *testing.T) {
	for asked, want := range map[string]string{
		"CONDSTORE QRESYNC": "* ENABLED CONDSTORE QRESYNC",
		"QRESYNC CONDSTORE": "* ENABLED QRESYNC CONDSTORE",
		"QRESYNC":           "* ENABLED QRESYNC",
	} {
		w := newWire(t, newFakeStore(), nil)
		w.logIn()
		w.send("a1 ENABLE " + asked + "\r\n")
		w.expect(want)
		w.expect("a1 OK ENABLE completed")
		w.send("a2 ENABLE CONDSTORE\r\n")
		w.expect("* ENABLED")
	}
}
