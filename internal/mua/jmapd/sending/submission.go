package sending

import (
	"context"
	"errors"
	"fmt"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/internal/outbox"
	"postroad/jmap"
)

// submissionMethods are those of EmailSubmission (RFC 8621, 7).
func (m *Methods) submissionMethods() []jmap.Method {
	t := &jmap.DataType{Name: "EmailSubmission", Capability: CapabilitySubmission,
		Property: members("id", "identityId", "emailId", "threadId", "envelope", "sendAt", "undoStatus", "deliveryStatus", "dsnBlobIds", "mdnBlobIds")}
	return []jmap.Method{t.Get(nil, m.getSubmissions), t.Changes(nil, m.submissionChanges),
		t.Query(nil, m.querySubmissions), t.QueryChanges(nil, m.submissionQueryChanges),
		t.Set([]string{"onSuccessUpdateEmail", "onSuccessDestroyEmail"}, m.setSubmissions)}
}

// getSubmissions answers EmailSubmission/get (RFC 8621, 7.1).
func (m *Methods) getSubmissions(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	list, state, notFound, err := m.submissionsOf(ctx, a, args.IDs)
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{State: state.String(), NotFound: notFound}
	for _, s := range list {
		r.List = append(r.List, pick(args, submission(s)))
	}
	return r, nil
}

// getMax is how many submissions /get gives when it is asked for all.
const getMax = 1000

// submissionsOf reads submissions by their ids; nil: all.
func (m *Methods) submissionsOf(ctx context.Context, a *access.Account, ids []jmap.ID) ([]*outbox.Submission, objects.State, []jmap.ID, error) {
	if ids == nil {
		list, state, err := m.house.Objects.All(ctx, a.ID(), objects.Submission, 0, getMax+1)
		if err != nil {
			return nil, state, nil, err
		}
		if len(list) > getMax {
			return nil, state, nil, jmap.ErrRequestTooLarge.With("there are more than %d submissions: ask for some of them", getMax)
		}
		all, err := outbox.Decode(list)
		return all, state, nil, err
	}
	state, err := m.house.Objects.State(ctx, a.ID(), objects.Submission)
	if err != nil {
		return nil, state, nil, err
	}
	var known []hlc.ID
	for _, id := range ids {
		if n, ok := access.ParseID(letterSubmission, id); ok {
			known = append(known, n)
		}
	}
	list, err := m.house.Objects.Get(ctx, a.ID(), objects.Submission, known...)
	if err != nil {
		return nil, state, nil, err
	}
	there := map[jmap.ID]bool{}
	for _, o := range list {
		there[access.FormatID(letterSubmission, o.ID)] = true
	}
	var notFound []jmap.ID
	for _, id := range ids {
		if !there[id] {
			notFound = append(notFound, id)
		}
	}
	all, err := outbox.Decode(list)
	return all, state, notFound, err
}

// submission is a submission as clients see it.
func submission(s *outbox.Submission) jmap.Object {
	o := jmap.Object{"id": access.FormatID(letterSubmission, s.ID), "identityId": nil, "emailId": s.Email, "threadId": s.Thread,
		"envelope": envelopeOf(s), "sendAt": jmap.FormatUTCDate(s.SendAt), "undoStatus": s.Undo, "deliveryStatus": statusOf(s),
		"dsnBlobIds": blobs(s.DSNs), "mdnBlobIds": blobs(s.MDNs)}
	if s.Identity != 0 {
		o["identityId"] = access.FormatID(letterIdentity, s.Identity)
	}
	return o
}

// blobs are the blobs of whole messages (decision 0012).
func blobs(of []mailstore.MessageID) []jmap.ID {
	ids := []jmap.ID{}
	for _, id := range of {
		ids = append(ids, access.FormatID(letterBlob, id))
	}
	return ids
}

// statusOf is the property deliveryStatus.
func statusOf(s *outbox.Submission) map[string]any {
	all := make(map[string]any, len(s.To))
	for i := range s.To {
		to := &s.To[i]
		displayed := "unknown"
		if to.Displayed {
			displayed = "yes"
		}
		all[to.Email] = map[string]any{"smtpReply": to.Reply, "delivered": to.Delivered, "displayed": displayed}
	}
	return all
}

// submissionChanges answers EmailSubmission/changes (RFC 8621, 7.2).
func (m *Methods) submissionChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	return m.changes(ctx, a, objects.Submission, letterSubmission, args)
}

// setSubmissions answers EmailSubmission/set (RFC 8621, 7.5).
func (m *Methods) setSubmissions(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	after, err := readAfterwards(c, args.Extra)
	if err != nil {
		return nil, err
	}
	r, err := m.house.BeginSet(ctx, a, objects.Submission, args)
	if err != nil {
		return nil, err
	}
	for _, made := range args.Create {
		s, err := m.create(ctx, c, a, made.Object)
		told, err := setError(err)
		switch {
		case err != nil:
			return nil, err
		case told != nil:
			r.NotCreate(made.ID, told)
		default:
			after.done("#"+made.ID, s.Email)
			after.done(access.FormatID(letterSubmission, s.ID), s.Email)
			o := submission(s)
			for name := range made.Object {
				delete(o, name)
			}
			r.Create(made.ID, o)
		}
	}
	for _, u := range args.Update {
		s, err := m.update(ctx, a, u.ID, u.Patch)
		if err := noteUpdate(r, after, u.ID, s, err); err != nil {
			return nil, err
		}
	}
	for _, id := range args.Destroy {
		s, err := m.destroy(ctx, a, id)
		told, err := setError(err)
		switch {
		case err != nil:
			return nil, err
		case told != nil:
			r.NotDestroy(id, told)
		default:
			after.done(id, s.Email)
			r.Destroyed = append(r.Destroyed, id)
		}
	}
	if r, err = m.house.EndSet(ctx, a, objects.Submission, r); err != nil {
		return nil, err
	}
	return r, m.afterwards(ctx, c, a, after)
}

// noteUpdate puts the outcome of an update into the result.
func noteUpdate(r *jmap.SetResult, after *afterwards, id jmap.ID, s *outbox.Submission, err error) error {
	told, err := setError(err)
	switch {
	case err != nil:
		return err
	case told != nil:
		r.NotUpdate(id, told)
	default:
		after.done(id, s.Email)
		r.Update(id, jmap.Object{"deliveryStatus": statusOf(s)})
	}
	return nil
}

// update takes a submission back: that is all a client can change (RFC 8621, 7.5).
func (m *Methods) update(ctx context.Context, a *access.Account, id jmap.ID, patch jmap.Properties) (*outbox.Submission, error) {
	of, ok := access.ParseID(letterSubmission, id)
	if !ok {
		return nil, objects.ErrNotFound
	}
	s, err := m.o.Outbox.Submission(ctx, a.ID(), of)
	if err != nil {
		return nil, err
	}
	is := submission(s)
	for name, v := range patch {
		switch {
		case name == "undoStatus" && sameJSON(v, outbox.Canceled):
		case is[name] != nil && sameJSON(v, is[name]):
			// It may be sent back as it is (RFC 8620, 5.3).
		default:
			return nil, jmap.InvalidProperties([]string{name}, "%s cannot be changed so", name)
		}
	}
	if !sameJSON(patch["undoStatus"], outbox.Canceled) || s.Undo == outbox.Canceled {
		return s, nil
	}
	err = m.o.Outbox.Cancel(ctx, a.ID(), of)
	if errors.Is(err, outbox.ErrNotPending) {
		return nil, jmap.NewSetError("cannotUnsend", "the message is on its way already")
	}
	if err != nil {
		return nil, err
	}
	return m.o.Outbox.Submission(ctx, a.ID(), of)
}

// destroy forgets a submission.
func (m *Methods) destroy(ctx context.Context, a *access.Account, id jmap.ID) (s *outbox.Submission, err error) {
	of, ok := access.ParseID(letterSubmission, id)
	if !ok {
		return nil, objects.ErrNotFound
	}
	err = m.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		if s, err = m.o.Outbox.Submission(ctx, a.ID(), of); err != nil {
			return err
		}
		return m.o.Outbox.PrepareDestroy(ctx, u, a.ID(), s)
	})
	return s, err
}

// afterwards is what is to be done to messages when their submissions have succeeded.
type afterwards struct {
	update  map[jmap.ID]jmap.Properties // by submission
	destroy map[jmap.ID]bool
	patches map[string]jmap.Properties // by message
	gone    []string
}

// readAfterwards reads the two arguments of RFC 8621, 7.5.
func readAfterwards(_ *jmap.Call, extra jmap.Properties) (*afterwards, error) {
	after := &afterwards{destroy: map[jmap.ID]bool{}, patches: map[string]jmap.Properties{}}
	var destroy []jmap.ID
	if err := readArgument(extra, "onSuccessUpdateEmail", &after.update); err != nil {
		return nil, err
	}
	if err := readArgument(extra, "onSuccessDestroyEmail", &destroy); err != nil {
		return nil, err
	}
	for id, patch := range after.update {
		if patch == nil {
			return nil, jmap.InvalidArguments("onSuccessUpdateEmail: %s: no patch", id)
		}
	}
	for _, id := range destroy {
		after.destroy[id] = true
	}
	return after, nil
}

// done notes that something was done to a submission, whose message may now be changed.
func (w *afterwards) done(id jmap.ID, email string) {
	if patch, ok := w.update[id]; ok {
		w.patches[email] = patch
	}
	if w.destroy[id] {
		w.gone = append(w.gone, email)
	}
}

// afterwards makes the one implicit call of Email/set.
func (m *Methods) afterwards(ctx context.Context, c *jmap.Call, a *access.Account, w *afterwards) error {
	args := map[string]any{"accountId": a.JMAP()}
	if len(w.patches) > 0 {
		args["update"] = w.patches
	}
	if len(w.gone) > 0 {
		args["destroy"] = w.gone
	}
	if len(args) == 1 {
		return nil
	}
	if err := c.Call(ctx, m.o.EmailSet, args); err != nil {
		return fmt.Errorf("change messages that were sent: %w", err)
	}
	return nil
}
