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
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// Limits of a change by query.
const (
	JobIDsMax      = 1_000_000 // messages
	patchMax       = 16 << 10  // octets of the update
	partIDs        = 500       // messages of one part, and of one call of Email/set
	partsInCommit  = 16        // of the parts that are written or taken away at once
	queriesAgain   = 3         // times the query is made anew because mail came in between
	capabilityMail = "urn:ietf:params:jmap:mail"
)

// part is some of the messages that a job has still to do.
type part struct {
	Job hlc.ID    `json:"j"`
	IDs []jmap.ID `json:"i"`
}

// setByQuery answers Email/setByQuery: the messages that a query finds now are changed, or
// destroyed, by a job in the user's own account.
func (m *Methods) setByQuery(ctx context.Context, c *jmap.Call) (any, error) {
	var args struct {
		AccountID jmap.ID         `json:"accountId"`
		Filter    jmap.Properties `json:"filter"`
		Update    jmap.Properties `json:"update"`
		Destroy   bool            `json:"destroy"`
	}
	if err := c.Decode(&args, "accountId", "filter", "update", "destroy"); err != nil {
		return nil, err
	}
	patch, err := json.Marshal(args.Update)
	switch {
	case err != nil:
		return nil, err
	case args.Filter == nil:
		return nil, jmap.InvalidArguments("filter: missing; {} is all messages")
	case (len(args.Update) > 0) == args.Destroy:
		return nil, jmap.InvalidArguments("either update, with something to change, or destroy: true")
	case len(patch) > patchMax:
		return nil, jmap.ErrRequestTooLarge.With("update: more than %d octets", patchMax)
	}
	if _, err := m.house.Account(ctx, c, args.AccountID); err != nil {
		return nil, err
	}
	u := access.Of(c)
	own, err := m.house.AccountFor(ctx, u, access.FormatID('A', u.ID))
	if err != nil {
		return nil, err
	}
	ids, err := m.queried(ctx, c, args.AccountID, args.Filter)
	if err != nil {
		return nil, err
	}
	id, err := m.begun(ctx, own, &job{Type: "setByQuery", State: Running, Created: time.Now().Truncate(time.Second), Account: args.AccountID, Update: args.Update}, ids)
	if err != nil {
		return nil, err
	}
	return map[string]any{"accountId": args.AccountID, "jobAccountId": own.JMAP(), "jobId": access.FormatID(jobID, id), "total": len(ids)}, nil
}

// queried are the ids of all messages that a filter finds.
func (m *Methods) queried(ctx context.Context, c *jmap.Call, account jmap.ID, filter jmap.Properties) ([]jmap.ID, error) {
	var ids []jmap.ID
	state := ""
	for again := 0; ; {
		raw, err := json.Marshal(map[string]any{"accountId": account, "filter": filter, "position": len(ids), "calculateTotal": true})
		if err != nil {
			return nil, err
		}
		out, err := m.o.EmailQuery.Do(ctx, jmap.NewCall(m.o.EmailQuery.Name, raw, c.User, c))
		if err != nil {
			return nil, err
		}
		r, ok := out.(*jmap.QueryResult)
		if !ok {
			return nil, fmt.Errorf("own: Email/query answers with %T", out)
		}
		if r.Total > JobIDsMax {
			return nil, jmap.ErrRequestTooLarge.With("the query finds %d messages; a job may have %d", r.Total, JobIDsMax)
		}
		if len(ids) > 0 && r.QueryState != state {
			if again++; again > queriesAgain {
				return nil, jmap.ErrServerUnavailable.With("what the query finds changes all the time")
			}
			ids = nil
			continue
		}
		ids, state = append(ids, r.IDs...), r.QueryState
		if len(ids) >= r.Total || len(r.IDs) == 0 {
			return ids, nil
		}
	}
}

// begun writes a job down: the job and its mark first, then its parts, then that it is ready.
// Of a job that is not ready and that nobody prepares any more, Run says that it failed.
func (m *Methods) begun(ctx context.Context, a *access.Account, j *job, ids []jmap.ID) (hlc.ID, error) {
	id := m.house.Objects.NewID()
	m.prepares(id, true)
	defer m.signal()
	defer m.prepares(id, false)
	err := m.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		if err := m.room(ctx, u, a); err != nil {
			return err
		}
		value, err := json.Marshal(j)
		if err != nil {
			return err
		}
		b := u.Quiet(jobSpace)
		b.Puts = append(b.Puts, mark{a.ID(), id}.put())
		return m.house.Objects.PrepareCreate(u, a.ID(), objects.Job, id, value)
	})
	if err != nil {
		return 0, err
	}
	var parts [][]byte
	for some := range slices.Chunk(ids, partIDs) {
		value, err := json.Marshal(part{Job: id, IDs: some})
		if err != nil {
			return 0, err
		}
		parts = append(parts, value)
	}
	for some := range slices.Chunk(parts, partsInCommit) {
		if err := m.house.Committer.Commit(ctx, func(_ context.Context, u *mailflow.Unit) error {
			for _, value := range some {
				if err := m.house.Objects.PrepareCreate(u, a.ID(), objects.JobPart, m.house.Objects.NewID(), value); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return 0, err
		}
	}
	err = m.change(ctx, a.ID(), id, func(_ *mailflow.Unit, j *job) (bool, error) {
		j.Ready, j.Total = true, len(ids)
		return true, nil
	})
	if errors.Is(err, objects.ErrNotFound) {
		err = nil // forgotten already, by another client
	}
	return id, err
}

// room makes room for one more job within a unit, and refuses it where too many run.
func (m *Methods) room(ctx context.Context, u *mailflow.Unit, a *access.Account) error {
	all, _, err := m.house.Objects.All(ctx, a.ID(), objects.Job, 0, 0)
	if err != nil {
		return err
	}
	running := 0
	var ended *objects.Object
	for _, o := range all {
		j, err := parseJob(o)
		switch {
		case err != nil:
			return err
		case j.State == Running:
			running++
		case ended == nil:
			ended = o
		}
	}
	if running >= JobsMax {
		return jmap.ErrRequestTooLarge.With("%d jobs have not ended yet; wait for one, or cancel one", running)
	}
	if len(all) >= jobsKept && ended != nil {
		return m.house.Objects.PrepareDestroy(ctx, u, a.ID(), objects.Job, ended)
	}
	return nil
}

// prepares notes that a job is being written down, or no longer is.
func (m *Methods) prepares(id hlc.ID, is bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if is {
		m.preparing[id] = true
	} else {
		delete(m.preparing, id)
	}
}
