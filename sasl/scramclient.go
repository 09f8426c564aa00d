package sasl

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// Bounds of what a server may ask of a client.
const (
	iterationsMin = 4096      // RFC 7677, 4
	iterationsMax = 1_000_000 // about half a second of work
)

// scramClient is the client's side of SCRAM-SHA-256 and -PLUS.
type scramClient struct {
	mechanism    string
	conversation *scram.ClientConversation
	steps        int
}

// newScramClient prepares a conversation. The nonce comes from the module, so do the
// forms of name and password (SASLprep).
func newScramClient(mechanism string, c Credentials, b *Bindings, offered []string) (*scramClient, error) {
	client, err := scram.SHA256.NewClient(c.User, c.Password, c.Authzid)
	if err != nil {
		return nil, fmt.Errorf("prepare name and password: %w", err)
	}
	return startScramClient(mechanism, client.WithMinIterations(iterationsMin), b, offered)
}

func startScramClient(mechanism string, client *scram.Client, b *Bindings, offered []string) (*scramClient, error) {
	c := &scramClient{mechanism: mechanism}
	switch {
	case mechanism == ScramSHA256Plus:
		kind := bindingExporter
		data, err := b.data(kind)
		if err != nil {
			kind = bindingEndPoint
			data, err = b.data(kind)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBinding, err)
		}
		c.conversation = client.NewConversationWithChannelBinding(
			scram.ChannelBinding{Type: scram.ChannelBindingType(kind), Data: data})
	case b.available() && !contains(offered, ScramSHA256Plus):
		// RFC 5802, 6: "y", so that a server whose offer was taken away notices.
		c.conversation = client.NewConversationAdvertisingChannelBinding()
	default:
		c.conversation = client.NewConversation()
	}
	return c, nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

func (c *scramClient) Mechanism() string { return c.mechanism }

func (c *scramClient) Start() ([]byte, error) {
	first, err := c.conversation.Step("")
	return []byte(first), err
}

func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	c.steps++
	if c.steps == 1 {
		if err := checkIterations(string(challenge)); err != nil {
			return nil, err
		}
	}
	response, err := c.conversation.Step(string(challenge))
	if err != nil {
		return nil, fmt.Errorf("SCRAM: %w", err)
	}
	return []byte(response), nil
}

// checkIterations refuses a server-first-message that would keep us busy.
func checkIterations(first string) error {
	for f := range strings.SplitSeq(first, ",") {
		if v, ok := strings.CutPrefix(f, "i="); ok {
			n, err := strconv.Atoi(v)
			if err != nil || n < iterationsMin || n > iterationsMax {
				return fmt.Errorf("%w: %.20q iterations", ErrMalformed, v)
			}
		}
	}
	return nil
}

// Finish refuses a success that came before the server's signature (RFC 5802, 5).
func (c *scramClient) Finish() error {
	if !c.conversation.Valid() {
		return ErrServer
	}
	return nil
}
