package directory

import (
	"fmt"
	"time"
	_ "time/tzdata" // the same zones on every machine, those without a system's database too
)

// zoneMax is the longest name of a time zone, in octets; those of IANA have 32 at most.
const zoneMax = 64

// checkZone tells whether a name is one of the IANA time zone database; empty: that of the
// server.
func checkZone(name string) error {
	if name == "" {
		return nil
	}
	if len(name) > zoneMax || name == "Local" { // of this machine, not of the database
		return fmt.Errorf("%w: time zone %.80q; give a name such as Europe/Berlin", ErrInvalid, name)
	}
	if _, err := time.LoadLocation(name); err != nil {
		return fmt.Errorf("%w: there is no time zone %q; give a name such as Europe/Berlin", ErrInvalid, name)
	}
	return nil
}

// Location is where the account's days begin.
func (a *Account) Location() (*time.Location, error) {
	if a.TimeZone == "" {
		return time.Local, nil
	}
	l, err := time.LoadLocation(a.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("time zone of account %s: %w", a.ID, err)
	}
	return l, nil
}
