package email

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// An upload is an object in the account of who made it, whatever account it is for: nobody
// else can come by it, in a shared account neither (RFC 8620, 6.1). Its body has a link of
// its own. A record in a space of all uploads, in the order of their ends, leads the sweep
// to those whose time is over, after a restart too, and also when their account has gone.

// Bounds of uploads.
const (
	uploadLife  = time.Hour        // after the last use, at least (RFC 8620, 6)
	uploadTouch = 10 * time.Minute // a use that is written down counts for so long
	uploadSweep = time.Minute      // between looks at what is over
	uploadsMax  = 1000             // of one user; over it the oldest go
	sweptAtOnce = 100              // uploads taken away before the next look at the clock

	mediaTypeMax = 255 // octets of a type that is kept; RFC 6838, 4.2, allows 127 on each side
)

// upload is an upload as it is kept.
type upload struct {
	owner   mailstore.AccountID // who made it
	account mailstore.AccountID // for which account
	object  *objects.Object
	used    time.Time
	body    blob.Body
	media   string
}

// uploadSpace has a record for each upload of the house: the second at which it ends, its
// owner, its id, and its body.
const uploadSpace = kv.Space("uploads")

const uploadFormat = 1

func (u *upload) ends() time.Time { return u.used.Add(uploadLife + uploadTouch) }

func (u *upload) key() []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(u.ends().Unix()))
	k = binary.BigEndian.AppendUint64(k, uint64(u.owner))
	return binary.BigEndian.AppendUint64(k, uint64(u.object.ID))
}

// holder names an upload as a holder of its body.
func (u *upload) holder() string { return "u/" + u.owner.String() + "/" + u.object.ID.String() }

// value is the object's: format, account, second of the last use, body, type.
func (u *upload) value() []byte {
	v := binary.BigEndian.AppendUint64([]byte{uploadFormat}, uint64(u.account))
	v = binary.BigEndian.AppendUint64(v, uint64(u.used.Unix()))
	v = u.body.AppendBinary(v)
	return append(v, u.media...)
}

// readUpload reads an object's value.
func readUpload(owner mailstore.AccountID, o *objects.Object) (*upload, error) {
	const head = 1 + 8 + 8
	v := o.Value
	if len(v) < head || v[0] != uploadFormat {
		return nil, fmt.Errorf("upload %s: %w", o.ID, objects.ErrDamaged)
	}
	body, media, err := blob.DecodeBody(v[head:])
	if err != nil {
		return nil, fmt.Errorf("upload %s: %w: %w", o.ID, objects.ErrDamaged, err)
	}
	return &upload{owner: owner, object: o, account: hlc.ID(binary.BigEndian.Uint64(v[1:])),
		used: time.Unix(int64(binary.BigEndian.Uint64(v[9:])), 0), body: body, media: string(media)}, nil
}

// Upload implements access.Blobs.
func (m *Methods) Upload(ctx context.Context, u *access.User, a *access.Account, mediaType string, r io.Reader) (jmap.ID, int64, error) {
	if err := mayUpload(ctx, a); err != nil {
		return "", 0, err
	}
	body, err := m.house.Bodies.Stage(ctx, r, m.o.UploadBytesMax)
	switch {
	case errors.Is(err, blob.ErrTooLarge), errors.Is(err, blob.ErrFull):
		return "", 0, jmap.ErrOverQuota
	case err != nil:
		return "", 0, err
	}
	up := &upload{owner: u.ID, account: a.ID(), object: &objects.Object{ID: m.house.Objects.NewID()}, used: time.Now(), body: body,
		media: mediaType[:min(len(mediaType), mediaTypeMax)]}
	if err := m.makeRoom(ctx, up); err != nil {
		m.house.Bodies.Discard(body)
		return "", 0, err
	}
	err = m.house.Committer.Commit(ctx, func(_ context.Context, unit *mailflow.Unit) error {
		if err := m.house.Objects.PrepareCreate(unit, up.owner, objects.Upload, up.object.ID, up.value()); err != nil {
			return err
		}
		unit.Keep(body, up.holder())
		b := unit.Quiet(uploadSpace)
		b.Puts = append(b.Puts, kv.Put{Key: up.key(), Value: body.AppendBinary([]byte{uploadFormat})})
		return nil
	})
	if err != nil {
		m.house.Bodies.Discard(body)
		if errors.Is(err, kv.ErrFull) {
			return "", 0, jmap.ErrOverQuota
		}
		return "", 0, fmt.Errorf("keep an upload: %w", err)
	}
	return access.FormatID(blobUpload, up.object.ID), body.Size, nil
}

// mayUpload tells whether the user can make any use of an upload in the account: nil, or
// jmap.ErrAccountReadOnly.
func mayUpload(ctx context.Context, a *access.Account) error {
	if a.Own {
		return nil
	}
	all, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return err
	}
	for _, v := range all.Visible() {
		if v.Rights.Has(imap.RightInsert) {
			return nil
		}
	}
	return jmap.ErrAccountReadOnly
}

// makeRoom ends the oldest uploads of a user until there is room for a new one (RFC 8620,
// 6).
func (m *Methods) makeRoom(ctx context.Context, fresh *upload) error {
	mu := &m.uploading[uint64(fresh.owner)%uint64(len(m.uploading))]
	mu.Lock()
	defer mu.Unlock()
	list, _, err := m.house.Objects.All(ctx, fresh.owner, objects.Upload, 0, 0)
	if err != nil {
		return err
	}
	total, count := fresh.body.Size, 1
	uploads := make([]*upload, 0, len(list))
	for _, o := range list {
		old, err := readUpload(fresh.owner, o)
		if err != nil {
			return err
		}
		uploads = append(uploads, old)
		total += old.body.Size
		count++
	}
	for _, old := range uploads {
		if total <= m.o.UploadsBytesMax && count <= uploadsMax {
			break
		}
		if err := m.endUpload(ctx, old); err != nil {
			return err
		}
		total -= old.body.Size
		count--
	}
	return nil
}

// endUpload takes an upload away, with its link. One that is gone already, or whose account
// is, leaves the rest to be taken away.
func (m *Methods) endUpload(ctx context.Context, u *upload) error {
	return m.house.Committer.Commit(ctx, func(ctx context.Context, unit *mailflow.Unit) error {
		now, err := m.house.Objects.One(ctx, u.owner, objects.Upload, u.object.ID)
		switch {
		case errors.Is(err, objects.ErrNotFound), errors.Is(err, mailstore.ErrNoAccount):
		case err != nil:
			return err
		default:
			if err := m.house.Objects.PrepareDestroy(ctx, unit, u.owner, objects.Upload, now); err != nil {
				return err
			}
			if of, err := readUpload(u.owner, now); err == nil {
				b := unit.Quiet(uploadSpace)
				b.Deletes = append(b.Deletes, of.key())
			}
		}
		unit.Drop(u.body, u.holder())
		b := unit.Quiet(uploadSpace)
		b.Deletes = append(b.Deletes, u.key())
		return nil
	})
}

// openUpload opens an upload that the user made for the account.
func (m *Methods) openUpload(ctx context.Context, u *access.User, a *access.Account, id hlc.ID) (*octets, error) {
	up, err := m.findUpload(ctx, u, a, id)
	if err != nil {
		return nil, err
	}
	body, err := m.house.Bodies.Open(ctx, up.body)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, jmap.ErrBlobNotFound // ended just now
	}
	if err != nil {
		return nil, fmt.Errorf("open an upload: %w", err)
	}
	return &octets{ReaderAt: body, size: body.Size(), base: body, upload: up}, nil
}

// findUpload reads an upload, whose life begins anew with that.
func (m *Methods) findUpload(ctx context.Context, u *access.User, a *access.Account, id hlc.ID) (*upload, error) {
	o, err := m.house.Objects.One(ctx, u.ID, objects.Upload, id)
	if errors.Is(err, objects.ErrNotFound) {
		return nil, jmap.ErrBlobNotFound
	}
	if err != nil {
		return nil, err
	}
	up, err := readUpload(u.ID, o)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if up.account != a.ID() || up.ends().Before(now) {
		return nil, jmap.ErrBlobNotFound
	}
	if now.Sub(up.used) < uploadTouch {
		return up, nil
	}
	return m.touchUpload(ctx, up, now)
}

// touchUpload writes down that an upload was used.
func (m *Methods) touchUpload(ctx context.Context, up *upload, now time.Time) (*upload, error) {
	fresh := *up
	err := m.house.Committer.Commit(ctx, func(ctx context.Context, unit *mailflow.Unit) error {
		o, err := m.house.Objects.One(ctx, up.owner, objects.Upload, up.object.ID)
		if errors.Is(err, objects.ErrNotFound) {
			return jmap.ErrBlobNotFound
		}
		if err != nil {
			return err
		}
		old, err := readUpload(up.owner, o)
		if err != nil {
			return err
		}
		fresh.object, fresh.used = o, now
		if err := m.house.Objects.PrepareUpdate(unit, up.owner, objects.Upload, o, fresh.value()); err != nil {
			return err
		}
		b := unit.Quiet(uploadSpace)
		b.Deletes = append(b.Deletes, old.key())
		b.Puts = append(b.Puts, kv.Put{Key: fresh.key(), Value: up.body.AppendBinary([]byte{uploadFormat})})
		return nil
	})
	if err != nil {
		return nil, err
	}
	object, err := m.house.Objects.One(ctx, up.owner, objects.Upload, up.object.ID)
	if errors.Is(err, objects.ErrNotFound) {
		return nil, jmap.ErrBlobNotFound
	}
	fresh.object = object
	return &fresh, err
}

// guardUpload guards within a unit that an upload is still there at the commit, so that its
// body can have another link.
func (m *Methods) guardUpload(unit *mailflow.Unit, u *upload) {
	b := unit.Quiet(uploadSpace)
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardPresent, Key: u.key()})
}

// Run ends uploads whose time is over, until the context ends.
func (m *Methods) Run(ctx context.Context) error {
	for {
		if err := m.sweepUploads(ctx, time.Now()); err != nil && ctx.Err() == nil {
			m.house.Log.Error("uploads that are over could not be taken away; will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(uploadSweep):
		}
	}
}

// sweepUploads ends the uploads whose time was over at a moment.
func (m *Methods) sweepUploads(ctx context.Context, now time.Time) error {
	for {
		over, err := m.uploadsOver(ctx, now)
		if err != nil {
			return err
		}
		for _, u := range over {
			if err := m.endUpload(ctx, u); err != nil {
				return err
			}
		}
		if len(over) < sweptAtOnce {
			return nil
		}
	}
}

// uploadsOver reads some of the uploads whose time was over at a moment.
func (m *Methods) uploadsOver(ctx context.Context, now time.Time) ([]*upload, error) {
	snap, err := m.house.Committer.Engine.Snapshot(ctx, uploadSpace)
	if err != nil {
		return nil, fmt.Errorf("uploads that are over: %w", err)
	}
	defer snap.Close()
	var over []*upload
	for e, err := range snap.Scan(kv.Range{To: binary.BigEndian.AppendUint64(nil, uint64(now.Unix())), Limit: sweptAtOnce}) {
		if err != nil {
			return nil, fmt.Errorf("uploads that are over: %w", err)
		}
		if len(e.Key) != 24 || len(e.Value) == 0 || e.Value[0] != uploadFormat {
			return nil, fmt.Errorf("record of an upload: %w", objects.ErrDamaged)
		}
		body, _, err := blob.DecodeBody(e.Value[1:])
		if err != nil {
			return nil, fmt.Errorf("record of an upload: %w: %w", objects.ErrDamaged, err)
		}
		ends := time.Unix(int64(binary.BigEndian.Uint64(e.Key)), 0)
		over = append(over, &upload{owner: hlc.ID(binary.BigEndian.Uint64(e.Key[8:])), body: body, used: ends.Add(-uploadLife - uploadTouch),
			object: &objects.Object{ID: hlc.ID(binary.BigEndian.Uint64(e.Key[16:]))}})
	}
	return over, nil
}
