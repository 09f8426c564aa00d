package own

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// jobID is the letter of ids of jobs.
const jobID = 'J'

// Limits of jobs in an account.
const (
	JobsMax  = 10  // that have not ended
	jobsKept = 100 // all; then the oldest that has ended goes
)

// State is how far a job has come. A job begins as running and ends once:
//
//	running    what it has to do is being written down, waits, or is being done
//	done       all of it was tried; what failed is counted
//	failed     it could not go on; what was done stays done
//	cancelled  its user wanted no more of it; what was done stays done
type State string

// The states.
const (
	Running   State = "running"
	Done      State = "done"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// job is a Job as it is stored.
type job struct {
	Type    string     `json:"t"`
	State   State      `json:"s"`
	Total   int        `json:"n,omitempty"`
	Done    int        `json:"d,omitempty"`
	Failed  int        `json:"f,omitempty"`
	Error   *jobError  `json:"e,omitempty"`
	Created time.Time  `json:"c"`
	Ended   *time.Time `json:"x,omitempty"`

	Ready   bool            `json:"r,omitempty"` // all its parts are written
	Cursor  hlc.ID          `json:"a,omitempty"` // parts up to it are done
	Account jmap.ID         `json:"i"`           // whose messages it changes
	Update  jmap.Properties `json:"u,omitempty"` // a patch for each message; nil: destroy
}

// jobError is why a job failed, or the first of its messages that did.
type jobError struct {
	Type        string  `json:"type"`
	Description string  `json:"description,omitempty"`
	ID          jmap.ID `json:"id,omitempty"` // of the message; empty: the job as a whole
}

var jobProperties = []string{"id", "type", "state", "total", "done", "failed", "error", "result", "created", "ended"}

// jobMethods are those of Job, and those that make jobs.
func (m *Methods) jobMethods() []jmap.Method {
	t := &jmap.DataType{Name: "Job", Capability: Capability,
		Property: func(name string) bool { return slices.Contains(jobProperties, name) }}
	return []jmap.Method{t.Get(nil, m.getJobs), t.Changes(nil, m.jobChanges), t.Set(nil, m.setJobs),
		{Name: "Email/setByQuery", Capability: Capability, Do: m.setByQuery}}
}

// parseJob reads a job.
func parseJob(o *objects.Object) (*job, error) {
	j := new(job)
	if err := json.Unmarshal(o.Value, j); err != nil {
		return nil, fmt.Errorf("%w: job %s: %w", objects.ErrDamaged, o.ID, err)
	}
	return j, nil
}

// object is the job as clients see it.
func (j *job) object(id hlc.ID) jmap.Object {
	var ended any
	if j.Ended != nil {
		ended = jmap.FormatUTCDate(*j.Ended)
	}
	return jmap.Object{"id": access.FormatID(jobID, id), "type": j.Type, "state": j.State, "total": j.Total, "done": j.Done,
		"failed": j.Failed, "error": j.Error, "result": map[string]any{"accountId": j.Account}, "created": jmap.FormatUTCDate(j.Created), "ended": ended}
}

// end ends a job.
func (j *job) end(s State, e *jobError) {
	now := time.Now().Truncate(time.Second)
	j.State, j.Ended = s, &now
	if e != nil {
		j.Error = e
	}
}

// getJobs answers Job/get.
func (m *Methods) getJobs(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	all, state, err := m.house.Objects.All(ctx, a.ID(), objects.Job, 0, 0)
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{State: state.String(), NotFound: slices.Clone(args.IDs)}
	for _, o := range all {
		id := access.FormatID(jobID, o.ID)
		if args.IDs != nil && !slices.Contains(args.IDs, id) {
			continue
		}
		j, err := parseJob(o)
		if err != nil {
			return nil, err
		}
		r.NotFound = slices.DeleteFunc(r.NotFound, func(missing jmap.ID) bool { return missing == id })
		r.List = append(r.List, pick(args, j.object(o.ID)))
	}
	return r, nil
}

// jobChanges answers Job/changes.
func (m *Methods) jobChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	since, err := objects.ParseState(args.SinceState)
	if err != nil {
		return nil, jmap.ErrCannotCalculateChanges
	}
	found, err := m.house.Objects.Changes(ctx, a.ID(), objects.Job, since, args.MaxChanges)
	if errors.Is(err, objects.ErrNoChanges) {
		return nil, jmap.ErrCannotCalculateChanges
	}
	if err != nil {
		return nil, err
	}
	return &jmap.ChangesResult{NewState: found.State.String(), HasMoreChanges: found.More,
		Created: formatJobs(found.Created), Updated: formatJobs(found.Updated), Destroyed: formatJobs(found.Destroyed)}, nil
}

// formatJobs are ids of jobs for clients.
func formatJobs(list []hlc.ID) []jmap.ID {
	var out []jmap.ID
	for _, id := range list {
		out = append(out, access.FormatID(jobID, id))
	}
	return out
}

// setJobs answers Job/set. Methods of their own make jobs; a client cancels them and lets
// them be forgotten.
func (m *Methods) setJobs(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r, err := m.house.BeginSet(ctx, a, objects.Job, args)
	if err != nil {
		return nil, err
	}
	for _, made := range args.Create {
		r.NotCreate(made.ID, jmap.NewSetError(jmap.SetForbidden, "jobs are made by Email/setByQuery"))
	}
	for _, u := range args.Update {
		told, err := setError(m.cancel(ctx, a, u))
		switch {
		case err != nil:
			return nil, err
		case told != nil:
			r.NotUpdate(u.ID, told)
		default:
			r.Update(u.ID, nil)
		}
	}
	for _, id := range args.Destroy {
		told, err := setError(m.destroyJob(ctx, a, id))
		switch {
		case err != nil:
			return nil, err
		case told != nil:
			r.NotDestroy(id, told)
		default:
			r.Destroyed = append(r.Destroyed, id)
		}
	}
	m.signal()
	return m.house.EndSet(ctx, a, objects.Job, r)
}

// cancel is an update of a job; it can be nothing else.
func (m *Methods) cancel(ctx context.Context, a *access.Account, u jmap.Update) error {
	for name, raw := range u.Patch {
		if name != "state" || string(raw) != `"cancelled"` {
			return jmap.InvalidProperties([]string{name}, "of a job only state can be set, to cancelled")
		}
	}
	id, ok := access.ParseID(jobID, u.ID)
	if !ok {
		return notFound()
	}
	return m.change(ctx, a.ID(), id, func(_ *mailflow.Unit, j *job) (bool, error) {
		switch {
		case len(u.Patch) == 0 || j.State == Cancelled:
			return false, nil
		case j.State != Running:
			return false, jmap.InvalidProperties([]string{"state"}, "the job has ended already")
		}
		j.end(Cancelled, nil)
		return true, nil
	})
}

// change commits what f makes of a job; false: nothing. objects.ErrNotFound.
func (m *Methods) change(ctx context.Context, account mailstore.AccountID, id hlc.ID, f func(*mailflow.Unit, *job) (bool, error)) error {
	return m.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		o, err := m.house.Objects.One(ctx, account, objects.Job, id)
		if err != nil {
			return err
		}
		j, err := parseJob(o)
		if err != nil {
			return err
		}
		changed, err := f(u, j)
		if err != nil || !changed {
			return err
		}
		value, err := json.Marshal(j)
		if err != nil {
			return err
		}
		return m.house.Objects.PrepareUpdate(u, account, objects.Job, o, value)
	})
}

// destroyJob forgets a job. Where it has not ended that ends it: Run finds its mark without
// it and takes its parts away.
func (m *Methods) destroyJob(ctx context.Context, a *access.Account, given jmap.ID) error {
	id, ok := access.ParseID(jobID, given)
	if !ok {
		return notFound()
	}
	return m.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		o, err := m.house.Objects.One(ctx, a.ID(), objects.Job, id)
		if err != nil {
			return err
		}
		return m.house.Objects.PrepareDestroy(ctx, u, a.ID(), objects.Job, o)
	})
}
