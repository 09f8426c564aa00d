package directory

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTimeZone(t *testing.T) {
	for _, test := range []struct {
		name string
		zone string
		good bool
	}{
		{"a city", "Europe/Berlin", true},
		{"three parts", "America/Argentina/Buenos_Aires", true},
		{"UTC", "UTC", true},
		{"that of the server", "", true},
		{"of this machine", "Local", false},
		{"no such place", "Europe/Atlantis", false},
		{"an offset", "+01:00", false},
		{"a way out", "../etc/passwd", false},
		{"a path", "/etc/localtime", false},
		{"with NUL", "Europe/Berlin\x00", false},
		{"too long", strings.Repeat("a", zoneMax+1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := checkZone(test.zone)
			if (err == nil) != test.good || err != nil && !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q: %v", test.zone, err)
			}
			a := Account{TimeZone: test.zone}
			if l, err := a.Location(); test.good && (err != nil || test.zone != "" && l.String() != test.zone || test.zone == "" && l != time.Local) {
				t.Errorf("%q is %v, %v", test.zone, l, err)
			}
		})
	}
}

// TestTimeZoneKept: it is there after a change of something else.
func TestTimeZoneKept(t *testing.T) {
	s := opened(t, newEngine(t))
	addDomain(t, s, Domain{Name: "example.test"})
	made := addAccount(t, s, "", "alice@example.test")
	change := func(f func(*Account) error) error {
		_, err := s.ChangeAccount(t.Context(), made.ID, f)
		return err
	}
	if err := change(func(a *Account) error { a.TimeZone = "Asia/Tokyo"; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := change(func(a *Account) error { a.TimeZone = "Asia/Nowhere"; return nil }); !errors.Is(err, ErrInvalid) {
		t.Errorf("no such zone: %v", err)
	}
	if err := change(func(a *Account) error { a.Name = "Alice"; return nil }); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Account(t.Context(), made.ID); err != nil || a.TimeZone != "Asia/Tokyo" || a.Name != "Alice" {
		t.Errorf("%+v, %v", a, err)
	}
}
