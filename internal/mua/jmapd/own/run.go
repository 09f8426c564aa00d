package own

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// How jobs are done.
const (
	marksMax    = 1000        // marks read under one snapshot
	lookEvery   = time.Minute // and at every signal
	retryAfter  = 10 * time.Second
	failuresMax = 10 // of one job in a row; then it has failed
)

// jobSpace has a mark for each job, of all accounts, for which there is something to do: until
// it has ended and its parts are gone. Its keys are the account's id and the job's.
const jobSpace = kv.Space("jobs")

// mark is one of them.
type mark struct {
	account mailstore.AccountID
	job     hlc.ID
}

func (k mark) key() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(k.account)), uint64(k.job))
}

func (k mark) put() kv.Put { return kv.Put{Key: k.key(), Value: []byte{1}} }

// trouble is what a job met that is not its own fault.
type trouble struct {
	failures int
	until    time.Time
}

// signal tells Run that there may be something to do.
func (m *Methods) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run does the jobs until ctx is done. It goes around: of each account the oldest job is
// brought forward by one part, so that no job keeps another account's waiting. What a crash
// cut off is done again: a message that has a change already is not changed by it again.
func (m *Methods) Run(ctx context.Context) error {
	troubles := map[mark]*trouble{}
	for {
		worked, err := m.round(ctx, troubles)
		if err != nil && ctx.Err() == nil {
			m.house.Log.Error("read the marks of jobs", "error", err)
		}
		pause := time.NewTimer(lookEvery)
		switch {
		case worked && err == nil:
			pause.Reset(0)
		case len(troubles) > 0:
			pause.Reset(retryAfter)
		}
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-m.wake:
		case <-pause.C:
		}
		pause.Stop()
	}
}

// round goes around once and tells whether anything was done.
func (m *Methods) round(ctx context.Context, troubles map[mark]*trouble) (worked bool, err error) {
	var from []byte
	var account mailstore.AccountID
	for {
		marks, err := m.marks(ctx, from)
		if err != nil {
			return worked, err
		}
		for _, k := range marks {
			from = append(k.key(), 0)
			if k.account == account || ctx.Err() != nil {
				continue // one job an account
			}
			account = k.account
			if t := troubles[k]; t != nil && time.Now().Before(t.until) {
				continue
			}
			did, err := m.step(ctx, k)
			worked = worked || did
			m.troubled(ctx, k, err, troubles)
		}
		if len(marks) < marksMax || ctx.Err() != nil {
			return worked, ctx.Err()
		}
	}
}

// troubled notes how a step went; too often without success ends the job.
func (m *Methods) troubled(ctx context.Context, k mark, err error, troubles map[mark]*trouble) {
	if err == nil || ctx.Err() != nil {
		delete(troubles, k)
		return
	}
	m.house.Log.Error("a job is tried again", "account", k.account.String(), "job", k.job.String(), "error", err)
	t := troubles[k]
	if t == nil {
		t = new(trouble)
		troubles[k] = t
	}
	t.failures, t.until = t.failures+1, time.Now().Add(retryAfter)
	if t.failures < failuresMax {
		return
	}
	delete(troubles, k)
	if err := m.failed(ctx, k, &jobError{Type: "serverFail", Description: "the server could not go on"}); err != nil {
		m.house.Log.Error("end a job", "account", k.account.String(), "job", k.job.String(), "error", err)
	}
}

// marks reads some marks, in order.
func (m *Methods) marks(ctx context.Context, from []byte) ([]mark, error) {
	snap, err := m.house.Committer.Engine.Snapshot(ctx, jobSpace)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	var all []mark
	for e, err := range snap.Scan(kv.Range{From: from, Limit: marksMax}) {
		if err != nil {
			return nil, err
		}
		if len(e.Key) != 16 {
			return nil, fmt.Errorf("%w: the mark of a job", objects.ErrDamaged)
		}
		all = append(all, mark{mailstore.AccountID(binary.BigEndian.Uint64(e.Key)), hlc.ID(binary.BigEndian.Uint64(e.Key[8:]))})
	}
	return all, nil
}

// failed ends a job that runs.
func (m *Methods) failed(ctx context.Context, k mark, e *jobError) error {
	err := m.change(ctx, k.account, k.job, func(_ *mailflow.Unit, j *job) (bool, error) {
		if j.State != Running {
			return false, nil
		}
		j.end(Failed, e)
		return true, nil
	})
	if errors.Is(err, objects.ErrNotFound) || errors.Is(err, mailstore.ErrNoAccount) {
		return nil
	}
	return err
}

// step brings a job forward by one part, or takes away what one that has ended left.
func (m *Methods) step(ctx context.Context, k mark) (did bool, err error) {
	m.mu.Lock()
	preparing := m.preparing[k.job]
	m.mu.Unlock()
	if preparing {
		return false, nil
	}
	o, err := m.house.Objects.One(ctx, k.account, objects.Job, k.job)
	switch {
	case errors.Is(err, mailstore.ErrNoAccount):
		return true, m.unmark(ctx, k, nil)
	case errors.Is(err, objects.ErrNotFound):
		return true, m.clean(ctx, k)
	case err != nil:
		return false, err
	}
	j, err := parseJob(o)
	switch {
	case err != nil:
		return false, err
	case j.State != Running:
		return true, m.clean(ctx, k)
	case !j.Ready:
		return true, m.failed(ctx, k, &jobError{Type: "serverFail", Description: "the server ended before it had all ids; ask again"})
	}
	p, of, err := m.next(ctx, k, j.Cursor)
	if err != nil {
		return false, err
	}
	if p == nil {
		return true, m.change(ctx, k.account, k.job, func(_ *mailflow.Unit, j *job) (bool, error) {
			if j.State == Running {
				j.end(Done, nil)
			}
			return true, nil
		})
	}
	return true, m.part(ctx, k, j, p, of)
}

// next is the first part of a job after another one; nil: there is none.
func (m *Methods) next(ctx context.Context, k mark, after hlc.ID) (*part, *objects.Object, error) {
	for {
		some, _, err := m.house.Objects.All(ctx, k.account, objects.JobPart, after, partsInCommit)
		if err != nil || len(some) == 0 {
			return nil, nil, err
		}
		for _, o := range some {
			p := new(part)
			if err := json.Unmarshal(o.Value, p); err != nil {
				return nil, nil, fmt.Errorf("%w: part of a job: %w", objects.ErrDamaged, err)
			}
			if p.Job == k.job {
				return p, o, nil
			}
			after = o.ID
		}
	}
}

// part does one part, as the user may do it now, and notes it.
func (m *Methods) part(ctx context.Context, k mark, j *job, p *part, of *objects.Object) error {
	who, err := m.house.Directory.Principal(ctx, k.account)
	if errors.Is(err, directory.ErrNotFound) {
		return m.failed(ctx, k, &jobError{Type: "forbidden", Description: "the account is no longer there"})
	}
	if err != nil {
		return err
	}
	r, err := m.set(ctx, &access.User{Principal: who, Credential: "job:" + k.job.String()}, j, p.IDs)
	var told *jmap.MethodError
	switch {
	case errors.As(err, &told) && !errors.Is(err, jmap.ErrServerUnavailable) && !errors.Is(err, jmap.ErrServerFail) && !errors.Is(err, jmap.ErrServerPartialFail):
		return m.failed(ctx, k, &jobError{Type: told.Type, Description: told.Description})
	case err != nil:
		return err
	}
	good, first, hopeless := counted(p.IDs, r)
	err = m.change(ctx, k.account, k.job, func(u *mailflow.Unit, j *job) (bool, error) {
		if j.State != Running || j.Cursor >= of.ID {
			return false, nil // cancelled meanwhile
		}
		j.Done, j.Failed, j.Cursor = j.Done+good, j.Failed+len(p.IDs)-good, of.ID
		if j.Error == nil {
			j.Error = first
		}
		if hopeless {
			j.end(Failed, nil)
		}
		return true, m.house.Objects.PrepareDestroy(ctx, u, k.account, objects.JobPart, of)
	})
	if errors.Is(err, objects.ErrNotFound) {
		return nil // forgotten meanwhile
	}
	return err
}

// set calls Email/set for some messages.
func (m *Methods) set(ctx context.Context, u *access.User, j *job, ids []jmap.ID) (*jmap.SetResult, error) {
	args := map[string]any{"accountId": j.Account}
	if j.Update == nil {
		args["destroy"] = ids
	} else {
		update := make(map[jmap.ID]jmap.Properties, len(ids))
		for _, id := range ids {
			update[id] = j.Update
		}
		args["update"] = update
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	out, err := m.o.EmailSet.Do(ctx, jmap.NewCall(m.o.EmailSet.Name, raw, u, nil, jmap.Core, capabilityMail))
	if err != nil {
		return nil, err
	}
	r, ok := out.(*jmap.SetResult)
	if !ok {
		return nil, fmt.Errorf("own: Email/set answers with %T", out)
	}
	return r, nil
}

// counted tells how many messages of a part are as they shall be, why the first other one is
// not, and whether the patch is one that no message can have. What was to be destroyed and
// is not there any more is as it shall be.
func counted(ids []jmap.ID, r *jmap.SetResult) (good int, first *jobError, hopeless bool) {
	hopeless = len(ids) > 0
	for _, id := range ids {
		e := r.NotUpdated[id]
		if d := r.NotDestroyed[id]; d != nil && d.Type != jmap.SetNotFound {
			e = d
		}
		if e == nil {
			good++
			hopeless = false
			continue
		}
		if first == nil {
			first = &jobError{Type: e.Type, Description: e.Description, ID: id}
		}
		hopeless = hopeless && (e.Type == jmap.SetInvalidPatch || e.Type == jmap.SetInvalidProperties)
	}
	return good, first, hopeless
}

// clean takes some parts of a job away that are not done any more, and its mark with the
// last of them.
func (m *Methods) clean(ctx context.Context, k mark) error {
	var gone []*objects.Object
	for after := hlc.ID(0); len(gone) < partsInCommit; {
		_, o, err := m.next(ctx, k, after)
		if err != nil {
			return err
		}
		if o == nil {
			return m.unmark(ctx, k, gone)
		}
		gone, after = append(gone, o), o.ID
	}
	return m.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return m.dropParts(ctx, u, k, gone)
	})
}

// dropParts takes parts away within a unit.
func (m *Methods) dropParts(ctx context.Context, u *mailflow.Unit, k mark, gone []*objects.Object) error {
	for _, o := range gone {
		if err := m.house.Objects.PrepareDestroy(ctx, u, k.account, objects.JobPart, o); err != nil {
			return err
		}
	}
	return nil
}

// unmark takes the last parts and the mark away: there is nothing left to do.
func (m *Methods) unmark(ctx context.Context, k mark, gone []*objects.Object) error {
	return m.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		b := u.Quiet(jobSpace)
		b.Deletes = append(b.Deletes, k.key())
		return m.dropParts(ctx, u, k, gone)
	})
}
