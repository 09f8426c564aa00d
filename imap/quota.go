package imap

import "strings"

// QuotaResource is what a quota limits (RFC 9208, 5), in upper case.
type QuotaResource string

// The resources.
const (
	QuotaStorage           QuotaResource = "STORAGE" // units of 1,024 octets
	QuotaMessage           QuotaResource = "MESSAGE" // messages
	QuotaMailbox           QuotaResource = "MAILBOX" // mailboxes
	QuotaAnnotationStorage QuotaResource = "ANNOTATION-STORAGE"
)

// QuotaStorageUnit is the unit of QuotaStorage, in octets (RFC 9208, 5.1).
const QuotaStorageUnit = 1024

// QuotaResourcesMax bounds the resources that a client names in one SETQUOTA.
const QuotaResourcesMax = 16

// QuotaUsage is the state of one resource of a quota root, in the resource's units, both
// of at most 63 bits.
type QuotaUsage struct {
	Resource     QuotaResource
	Usage, Limit uint64
}

// QuotaLimit is a limit that a client sets.
type QuotaLimit struct {
	Resource QuotaResource
	Limit    uint64
}

// Quota is a quota root with the resources that are limited in it (RFC 9208, 3.2 and
// 4.2.1). Its name means nothing to a client.
type Quota struct {
	Root      string
	Resources []QuotaUsage
}

// StorageUnits returns how many units of QuotaStorage octets take up, rounded upwards.
func StorageUnits(octets uint64) uint64 {
	units := octets / QuotaStorageUnit
	if octets%QuotaStorageUnit != 0 {
		units++
	}
	return units
}

// QuotaLimits reads the resource limits of SETQUOTA, in parentheses (setquota-list of RFC
// 9208, 7). Naming a resource twice is an error.
func (d *Decoder) QuotaLimits() []QuotaLimit {
	limits := []QuotaLimit{}
	d.List(func() {
		l := QuotaLimit{Resource: QuotaResource(d.Keyword())}
		d.SP()
		l.Limit = d.Number64()
		for _, other := range limits {
			if other.Resource == l.Resource {
				d.Fail("a resource is named twice")
			}
		}
		if limits = append(limits, l); len(limits) > QuotaResourcesMax {
			d.Fail("too many resources")
		}
	})
	return limits
}

// Capability returns the capability that tells of the resource (RFC 9208, 3.1.1).
func (r QuotaResource) Capability() Capability {
	return CapQuotaRes + Capability(strings.ToUpper(string(r)))
}
