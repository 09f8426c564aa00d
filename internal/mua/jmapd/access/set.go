package access

import (
	"context"

	"postroad/internal/objects"
	"postroad/jmap"
)

// BeginSet starts a /set of a kind of objects: its result with the state before,
// stateMismatch where the client had asked for another one (RFC 8620, 5.3).
func (h *House) BeginSet(ctx context.Context, a *Account, kind objects.Kind, args *jmap.SetArgs) (*jmap.SetResult, error) {
	state, err := h.Objects.State(ctx, a.ID(), kind)
	if err != nil {
		return nil, err
	}
	if args.IfInState != nil && *args.IfInState != state.String() {
		return nil, jmap.ErrStateMismatch
	}
	return &jmap.SetResult{OldState: state.String()}, nil
}

// EndSet puts the state after all changes into the result.
func (h *House) EndSet(ctx context.Context, a *Account, kind objects.Kind, r *jmap.SetResult) (*jmap.SetResult, error) {
	state, err := h.Objects.State(ctx, a.ID(), kind)
	r.NewState = state.String()
	return r, err
}
