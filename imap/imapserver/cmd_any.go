package imapserver

import (
	"strconv"
	"strings"

	"postroad/imap"
)

// The commands of every state: CAPABILITY, NOOP, LOGOUT, ID.

// capabilitiesAlways are told before log-in too: Outlook asks once and looks nowhere else.
var capabilitiesAlways = []imap.Capability{
	imap.CapIMAP4rev1, imap.CapIMAP4rev2, imap.CapSASLIR, imap.CapLiteralPlus, imap.CapEnable,
	imap.CapID, imap.CapIdle, imap.CapNamespace, imap.CapUIDPlus, imap.CapUnselect,
	imap.CapChildren, imap.CapMove, imap.CapSpecialUse, imap.CapCreateSpecialUse,
	imap.CapListExtended, imap.CapListStatus, imap.CapStatusSize, imap.CapESearch,
	imap.CapSearchRes, imap.CapWithin, imap.CapCondStore, imap.CapQResync, imap.CapBinary,
	imap.CapMultiAppend, imap.CapUTF8Accept, imap.CapObjectID, imap.CapSaveDate,
	imap.CapPartial,
}

// capabilities returns what is true of the connection now, with spaces between. LITERAL+
// stands for LITERAL- too, which must not be told besides (RFC 7888, 5).
func (c *Conn) capabilities() string {
	var b strings.Builder
	for _, cap := range capabilitiesAlways {
		b.WriteString(string(cap))
		b.WriteByte(' ')
	}
	for _, cap := range c.extensionCapabilities() {
		b.WriteString(string(cap))
		b.WriteByte(' ')
	}
	if url := c.server.options.SieveServer; url != "" && c.extends&extMetadata != 0 {
		b.WriteString(string(imap.CapIMAPSieve) + "=" + url + " ")
	}
	b.WriteString(string(imap.CapAppendLimit) + "=" + strconv.FormatInt(c.server.messageBytes, 10))
	switch {
	case c.state != notAuthenticated:
		if c.deflate == nil {
			b.WriteString(" " + string(imap.CapCompressDeflate))
		}
	default:
		if c.tls == nil && c.server.tls != nil {
			b.WriteString(" " + string(imap.CapStartTLS))
		}
		if !c.mayAuthenticate() {
			b.WriteString(" " + string(imap.CapLoginDisabled))
			break
		}
		for _, m := range c.session.SASL(c.binding).Mechanisms() {
			b.WriteString(" AUTH=" + m)
		}
	}
	return b.String()
}

// capabilityCode is the response code that tells the capabilities.
func (c *Conn) capabilityCode() imap.Code { return imap.Code("CAPABILITY " + c.capabilities()) }

// cmdCapability is CAPABILITY (RFC 9051, 6.1.1).
func (c *Conn) cmdCapability(cmd *command) error {
	if err := cmd.args(); err != nil {
		return err
	}
	c.text("* CAPABILITY ", c.capabilities(), "\r\n")
	return c.ok(cmd, "")
}

// cmdNoop is NOOP (RFC 9051, 6.1.2), and CHECK (RFC 3501, 6.4.1), which has nothing to do.
func (c *Conn) cmdNoop(cmd *command) error {
	if err := cmd.args(); err != nil {
		return err
	}
	return c.ok(cmd, "")
}

// cmdLogout is LOGOUT (RFC 9051, 6.1.3).
func (c *Conn) cmdLogout(cmd *command) error {
	if err := cmd.args(); err != nil {
		return err
	}
	c.bye("", "Good bye")
	c.done(cmd, "")
	return nil
}

// Limits of ID (RFC 2971, 3.3).
const (
	idFieldsMax = 30
	idNameMax   = 30   // octets
	idValueMax  = 1024 // octets
)

// cmdID is ID (RFC 2971).
func (c *Conn) cmdID(cmd *command) error {
	cmd.SP()
	var fields []Field
	if cmd.Next('(') {
		var f Field
		name := true
		cmd.List(func() {
			if name {
				f = Field{Name: cmd.ReadString()}
			} else {
				f.Value, _ = cmd.NString()
				fields = append(fields, f)
			}
			name = !name
			if len(fields) > idFieldsMax || len(f.Name) > idNameMax || len(f.Value) > idValueMax {
				cmd.Fail("ID is over its limits")
			}
		})
		if !name {
			cmd.Fail("a field without value")
		}
	} else {
		cmd.NString()
	}
	if err := cmd.args(); err != nil {
		return err
	}
	c.clientID = fields
	c.text("* ID ")
	if len(c.server.options.ID) == 0 {
		c.text("NIL")
	}
	for i, f := range c.server.options.ID {
		c.text("( "[min(i, 1) : min(i, 1)+1])
		c.out = imap.AppendString(c.out, f.Name)
		c.out = append(c.out, ' ')
		c.out = imap.AppendString(c.out, f.Value)
		if i == len(c.server.options.ID)-1 {
			c.text(")")
		}
	}
	c.text("\r\n")
	return c.ok(cmd, "")
}
