package segblob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"postroad/internal/blob"
	"postroad/internal/blob/blobtest"
	"postroad/internal/kv/faultfs"
	"postroad/internal/kv/hlc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openStore opens a store whose failed syncs fail the test.
func openStore(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.Fatal == nil {
		o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func TestContract(t *testing.T) {
	tests := []struct {
		name    string
		dir     func(*testing.T) string
		options func() Options
	}{
		{"disk", func(t *testing.T) string { return t.TempDir() }, func() Options { return Options{} }},
		{"small segments", func(t *testing.T) string { return t.TempDir() }, func() Options { return Options{Segment: 100 << 10} }},
		{"no memory", func(t *testing.T) string { return t.TempDir() }, func() Options { return Options{Memory: 1} }},
		{"little memory", func(t *testing.T) string { return t.TempDir() }, func() Options { return Options{Memory: 2 * frameSize} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			blobtest.Run(t, func(t *testing.T) blob.Store { return openStore(t, test.dir(t), test.options()) })
		})
	}
}

func TestDurable(t *testing.T) {
	for _, segment := range []int64{0, 200 << 10} {
		t.Run(fmt.Sprint("segment ", segment), func(t *testing.T) {
			var mem *vfs.MemFS // under the store that was opened last
			open := func(t *testing.T) blob.Store {
				return openStore(t, "/blobs", Options{FS: mem, Segment: segment})
			}
			blobtest.RunDurable(t, blobtest.Durable{
				Open: func(t *testing.T) blob.Store {
					mem = vfs.NewCrashableMem()
					return open(t)
				},
				Crash: func(t *testing.T, s blob.Store, seed uint64) blob.Store {
					old := mem
					mem = old.CrashClone(vfs.CrashCloneCfg{
						UnsyncedDataPercent: int(seed%4) * 33, RNG: rand.New(rand.NewPCG(seed, 4))})
					if err := s.Close(); err != nil {
						t.Fatalf("close: %v", err)
					}
					return open(t)
				},
				Damage: func(t *testing.T, s blob.Store, l blob.Location, n int) { damage(t, s.(*Store), l, n) },
			})
		})
	}
}

// damage changes one octet of a record: of its header, its index or its frames.
func damage(t *testing.T, s *Store, l blob.Location, n int) {
	a, err := parseLocation(l)
	if err != nil {
		t.Fatal(err)
	}
	places := []int64{0, 9, 17, 30, 40, 47, a.length - 1, a.length - indexLen, headerLen, headerLen + 1, a.length / 2, a.length - indexLen - 1}
	off := a.offset + min(places[n], a.length-1)
	g, err := s.acquire(a.segment)
	if err != nil {
		t.Fatal(err)
	}
	defer s.release(g)
	var p [1]byte
	if _, err := g.file.ReadAt(p[:], off); err != nil {
		t.Fatal(err)
	}
	p[0] ^= 0x55
	if _, err := g.file.WriteAt(p[:], off); err != nil {
		t.Fatal(err)
	}
}

// put stores octets.
func put(t testing.TB, s *Store, octets []byte) (blob.ID, blob.Location) {
	t.Helper()
	id := testClock.Next()
	l, _, err := s.Put(context.Background(), id, bytes.NewReader(octets), 1<<30)
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	return id, l
}

var testClock = hlc.NewClock(2)

// get reads a blob whole.
func get(s *Store, l blob.Location) ([]byte, error) {
	r, err := s.Open(context.Background(), l)
	if err != nil {
		return nil, err
	}
	octets, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	return octets, errors.Join(err, r.Close())
}

// names lists the directory.
func names(t testing.TB, fs vfs.FS, dir, suffix string) (n []string) {
	t.Helper()
	all, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if strings.HasSuffix(name, suffix) {
			n = append(n, name)
		}
	}
	return n
}

// TestCutAtEveryWrite cuts the power before each operation that changes the disk, in
// turn, and opens what is left: all that Sync had returned for must be there.
func TestCutAtEveryWrite(t *testing.T) {
	for seed := range uint64(2) {
		mem := vfs.NewCrashableMem()
		fault := faultfs.New(mem)
		type durable struct {
			location blob.Location
			octets   []byte
		}
		var kept []durable
		cuts := 0
		check := func(op faultfs.Op) error {
			if op.Kind&faultfs.Change == 0 {
				return nil
			}
			cuts++
			if strings.HasSuffix(op.Path, spillSuffix) && op.Size == frameSize && cuts%9 > 0 {
				return nil // one of many frames is like another
			}
			left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed) * 60, RNG: rand.New(rand.NewPCG(seed, uint64(cuts)))})
			s, err := Open("/blobs", Options{FS: left, Segment: 300 << 10})
			if err != nil {
				t.Errorf("cut %d, before %v: open: %v", cuts, op, err)
				return nil
			}
			defer s.Close()
			for i, k := range kept {
				if octets, err := get(s, k.location); err != nil || !bytes.Equal(octets, k.octets) {
					t.Errorf("cut %d, before %v: blob %d: %v", cuts, op, i, err)
				}
			}
			for _, err := range s.List(context.Background()) {
				if err != nil {
					t.Errorf("cut %d, before %v: list: %v", cuts, op, err)
				}
			}
			return nil
		}
		s := openStore(t, "/blobs", Options{FS: fault, Segment: 300 << 10})
		fault.Inject(check)
		for i, n := range []int{20_000, 100, 120_000, 300_000, 50_000, 4<<20 + 4<<19, 9000, 200_000} {
			octets := blobtest.Octets(uint64(2*i+1), n)
			_, l := put(t, s, octets)
			if i%3 == 1 {
				if err := s.Delete(context.Background(), l); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := s.Sync(context.Background(), l); err != nil {
				t.Fatal(err)
			}
			kept = append(kept, durable{l, octets})
		}
		fault.Inject()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if cuts < 40 {
			t.Errorf("only %d cuts", cuts)
		}
	}
}

// TestFailAtEveryWrite fails each write in turn: Put says so, leaves no file behind, and
// what was there before and what comes afterwards is right.
func TestFailAtEveryWrite(t *testing.T) {
	const kinds = faultfs.Create | faultfs.Write | faultfs.Rename
	for _, failure := range []error{syscall.EIO, syscall.ENOSPC, &faultfs.ShortWrite{N: 30, Err: syscall.ENOSPC}} {
		for _, size := range []int{20_000, 300_000, aloneMin + 100_000} {
			octets := blobtest.Octets(5, size)
			var all atomic.Int64
			failOnce(t, octets, failure, faultfs.Count(kinds, &all))
			for n := int64(1); n <= all.Load(); n++ {
				if n > 4 && n < all.Load()-4 && n%31 > 0 {
					continue // one of many frames is like another
				}
				if !failOnce(t, octets, failure, faultfs.Nth(n, kinds, faultfs.Fail(failure))) {
					t.Errorf("%d octets: write %d does not fail", size, n)
				}
			}
			if all.Load() == 0 {
				t.Error("nothing is written")
			}
		}
	}
}

// failOnce puts octets while the hook fails something, and tells whether Put failed.
func failOnce(t *testing.T, octets []byte, failure error, hook faultfs.Hook) bool {
	t.Helper()
	dir := t.TempDir()
	fault := faultfs.New(vfs.Default)
	s := openStore(t, dir, Options{FS: fault})
	defer s.Close()
	before := blobtest.Octets(3, 30_000)
	_, l := put(t, s, before)

	fault.Inject(hook)
	_, _, err := s.Put(context.Background(), testClock.Next(), bytes.NewReader(octets), 1<<30)
	fault.Inject()
	if err == nil {
		return false
	}
	if full := errors.Is(failure, syscall.ENOSPC); full != errors.Is(err, blob.ErrFull) {
		t.Errorf("failure with %v: %v", failure, err)
	}
	if left := names(t, fault, dir, spillSuffix); len(left) > 0 {
		t.Errorf("%v: left behind %v", err, left)
	}
	_, l2 := put(t, s, octets)
	if got, err := get(s, l); err != nil || !bytes.Equal(got, before) {
		t.Errorf("blob before the failure: %v", err)
	}
	if got, err := get(s, l2); err != nil || !bytes.Equal(got, octets) {
		t.Errorf("blob after the failure: %v", err)
	}
	listed := 0
	for _, err := range s.List(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		listed++
	}
	if listed != 2 {
		t.Errorf("%d blobs listed", listed)
	}
	return true
}

// TestSyncFails: a failed sync is fatal, and no later one may say that all is well.
func TestSyncFails(t *testing.T) {
	fault := faultfs.New(vfs.NewMem())
	var fatal []error
	s := openStore(t, "/blobs", Options{FS: fault, Fatal: func(err error) { fatal = append(fatal, err) }})
	defer s.Close()
	_, l := put(t, s, blobtest.Octets(1, 20_000))
	fault.Inject(faultfs.Nth(1, faultfs.Sync, faultfs.Fail(syscall.EIO)))
	if err := s.Sync(context.Background(), l); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync: %v", err)
	}
	if err := s.Sync(context.Background(), l); !errors.Is(err, syscall.EIO) {
		t.Errorf("second sync: %v", err)
	}
	if _, _, err := s.Put(context.Background(), testClock.Next(), strings.NewReader("x"), 10); !errors.Is(err, syscall.EIO) {
		t.Errorf("put afterwards: %v", err)
	}
	if len(fatal) != 1 {
		t.Errorf("fatal %d times", len(fatal))
	}
}

// TestGroupCommit: callers that wait share one sync, and one whose octets are durable
// already causes none.
func TestGroupCommit(t *testing.T) {
	fault := faultfs.New(vfs.NewMem())
	s := openStore(t, "/blobs", Options{FS: fault})
	defer s.Close()
	ctx := context.Background()
	_, first := put(t, s, blobtest.Octets(1, 20_000))
	if err := s.Sync(ctx, first); err != nil { // the directory too
		t.Fatal(err)
	}

	var syncs atomic.Int32
	begun, proceed := make(chan bool, 100), make(chan bool)
	fault.Inject(faultfs.On(faultfs.Sync, func(faultfs.Op) error {
		syncs.Add(1)
		begun <- true
		<-proceed
		return nil
	}))
	if err := s.Sync(ctx, first); err != nil || syncs.Load() != 0 {
		t.Fatalf("sync of what is durable: %d syncs, %v", syncs.Load(), err)
	}
	var group sync.WaitGroup
	syncOne := func() {
		_, l := put(t, s, blobtest.Octets(1, 20_000))
		group.Go(func() {
			if err := s.Sync(ctx, l); err != nil {
				t.Errorf("sync: %v", err)
			}
		})
	}
	syncOne()
	<-begun
	for range 20 { // these come during the first sync and share the second
		syncOne()
	}
	proceed <- true
	<-begun
	close(proceed)
	group.Wait()
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d syncs for 21 callers", n)
	}
}

// TestSlowClient: a body that stands still holds up nobody.
func TestSlowClient(t *testing.T) {
	for _, held := range []int{1000, 300_000} {
		s := openStore(t, "/blobs", Options{FS: vfs.NewMem()})
		r, w := io.Pipe()
		var group sync.WaitGroup
		slow := blobtest.Octets(2, held)
		group.Go(func() {
			l, _, err := s.Put(context.Background(), testClock.Next(), r, 1<<30)
			if err != nil {
				t.Errorf("slow put: %v", err)
				return
			}
			if got, err := get(s, l); err != nil || !bytes.Equal(got, slow) {
				t.Errorf("slow blob: %v", err)
			}
		})
		if _, err := w.Write(slow); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, l := put(t, s, blobtest.Octets(3, 50_000))
			if err := s.Sync(context.Background(), l); err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		group.Wait()
		if left := s.memory.left.Load(); left != memoryMax {
			t.Errorf("%d octets of memory were not given back", memoryMax-left)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk: below the watermark nothing is begun.
func TestFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 10 << 20, TotalBytes: 1 << 30})
	s := openStore(t, "/blobs", Options{FS: mem, Reserve: 11 << 20})
	_, _, err := s.Put(context.Background(), testClock.Next(), strings.NewReader("x"), 10)
	if !errors.Is(err, blob.ErrFull) {
		t.Errorf("put below the watermark: %v", err)
	}
	s.Close()
	s = openStore(t, "/blobs", Options{FS: mem, Reserve: 9 << 20})
	defer s.Close()
	_, l := put(t, s, blobtest.Octets(1, 10_000))
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 30})
	s.usage.next = time.Time{}
	if _, _, err := s.Put(context.Background(), testClock.Next(), strings.NewReader("x"), 10); !errors.Is(err, blob.ErrFull) {
		t.Errorf("put on a disk that became full: %v", err)
	}
	if err := s.Delete(context.Background(), l); err != nil {
		t.Errorf("delete on a full disk: %v", err)
	}
}

// TestReopen: temporary files go, segments stay, foreign files are left alone, and a
// second process is refused.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	octets := blobtest.Octets(1, 20_000)
	_, l := put(t, s, octets)
	for _, name := range []string{"0000.tmp", "notes", "x.seg", "1.seg"} {
		f, err := vfs.Default.Create(s.path(name), writeCategory)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Fatal("a second store opened the directory")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Options{})
	defer s.Close()
	if got, err := get(s, l); err != nil || !bytes.Equal(got, octets) {
		t.Errorf("after reopening: %v", err)
	}
	_, l2 := put(t, s, octets)
	a, _ := parseLocation(l)
	b, _ := parseLocation(l2)
	if b.segment <= a.segment {
		t.Errorf("segment %d after %d", b.segment, a.segment)
	}
	if n := names(t, vfs.Default, dir, ""); len(n) != 6 {
		t.Errorf("left are %v", n)
	}
}

// TestSpaceComesBack: holes are punched, joined, and an empty segment goes, whatever the
// order of the deletions.
func TestSpaceComesBack(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{Segment: 4 << 20})
	defer func() { s.Close() }()
	ctx := context.Background()
	var all []blob.Location
	for i := range 300 {
		_, l := put(t, s, blobtest.Octets(uint64(2*i+1), 33_000))
		all = append(all, l)
	}
	if err := s.Sync(ctx, all...); err != nil {
		t.Fatal(err)
	}
	before, files := blocks(t, s, dir)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if err := s.Delete(ctx, all[:150]...); err != nil {
		t.Fatal(err)
	}
	half, _ := blocks(t, s, dir)
	t.Logf("half of 300 blobs of 33,000 octets deleted: %d KB of %d KB left", half>>10, before>>10)
	if half > before*65/100 {
		t.Errorf("%d octets of %d are left when half is deleted", half, before)
	}
	// The rest is deleted by another process.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Options{Segment: 4 << 20})
	if err := s.Delete(ctx, all[150:299]...); err != nil {
		t.Fatal(err)
	}
	left, leftFiles := blocks(t, s, dir)
	t.Logf("one left: %d KB in %d files of %d", left>>10, leftFiles, files)
	if left > 300<<10 || leftFiles > 2 {
		t.Errorf("one blob left, and %d octets in %d files", left, leftFiles)
	}
	if _, err := get(s, all[299]); err != nil {
		t.Errorf("the one left: %v", err)
	}
	if err := s.Delete(ctx, all...); err != nil {
		t.Fatal(err)
	}
	for range s.List(ctx) {
		t.Error("a deleted blob is listed")
	}
	if _, n := blocks(t, s, dir); n != 0 {
		t.Errorf("%d segments without blobs", n)
	}
}

// blocks returns the octets that the segments occupy on the disk, and their number.
func blocks(t *testing.T, s *Store, dir string) (octets int64, files int) {
	t.Helper()
	for _, name := range names(t, s.fs, dir, segmentSuffix) {
		var stat syscall.Stat_t
		if err := syscall.Stat(s.path(name), &stat); err != nil {
			t.Fatal(err)
		}
		octets += stat.Blocks * 512
		files++
	}
	return octets, files
}

// TestScanGoesOn: records behind a damaged header, and behind a hole whose header did not
// reach the disk, are found; a body that looks like a record is not taken for one.
func TestScanGoesOn(t *testing.T) {
	s := openStore(t, "/blobs", Options{FS: vfs.NewMem()})
	defer s.Close()
	ctx := context.Background()

	forged := make([]byte, 0, 40_000)
	h := header{state: stateLive, salt: 1, id: 77, size: 10, length: 100}
	for len(forged) < 40_000-align {
		p := make([]byte, align)
		h.put(p)
		forged = append(forged, p...)
	}
	want := map[blob.ID]bool{}
	var all []blob.Location
	for i := range 6 {
		octets := blobtest.Octets(uint64(2*i+1), 20_000)
		if i == 1 {
			octets = append(blobtest.Octets(1, 3*frameSize+headerLen), forged...)
		}
		id, l := put(t, s, octets)
		all = append(all, l)
		if i != 1 && i != 3 {
			want[id] = true
		}
	}
	damage(t, s, all[1], 0)
	a, _ := parseLocation(all[3])
	g, err := s.acquire(a.segment)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.file.WriteAt(make([]byte, a.length), a.offset); err != nil {
		t.Fatal(err)
	}
	if err := s.release(g); err != nil {
		t.Fatal(err)
	}
	for info, err := range s.List(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if !want[info.ID] {
			t.Errorf("%s is listed", info.ID)
		}
		delete(want, info.ID)
	}
	if len(want) > 0 {
		t.Errorf("%d blobs are not found", len(want))
	}
}

// TestOpenManySegments: opening reads names only.
func TestOpenManySegments(t *testing.T) {
	fault := faultfs.New(vfs.NewMem())
	s := openStore(t, "/blobs", Options{FS: fault, Segment: 1})
	var last blob.Location
	octets := blobtest.Octets(1, 9000)
	for range 1000 {
		_, last = put(t, s, octets)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reads := 0
	fault.Inject(faultfs.On(faultfs.Read, func(faultfs.Op) error { reads++; return nil }))
	s = openStore(t, "/blobs", Options{FS: fault})
	defer s.Close()
	if reads > 0 {
		t.Errorf("%d reads to open", reads)
	}
	if len(s.segments) != 1000 {
		t.Errorf("%d segments", len(s.segments))
	}
	if got, err := get(s, last); err != nil || !bytes.Equal(got, octets) {
		t.Errorf("read: %v", err)
	}
	for _, err := range s.List(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := s.idle.Len(); n > idleFilesMax {
		t.Errorf("%d files open", n)
	}
}

func FuzzLocation(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(address{segment: 3, offset: 640, length: 20_000, crc: 7}.location()))
	f.Add(bytes.Repeat([]byte{0xff}, 30))
	s := openStore(f, "/blobs", Options{FS: vfs.NewMem()})
	_, l := put(f, s, blobtest.Octets(1, 20_000))
	f.Add([]byte(l))
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, l []byte) {
		if octets, err := get(s, l); err == nil && len(octets) != 20_000 {
			t.Errorf("%x names a blob of %d octets", l, len(octets))
		}
	})
}

// FuzzSegment reads segments as a failing disk may give them.
func FuzzSegment(f *testing.F) {
	seed := func(sizes ...int) []byte {
		mem := vfs.NewMem()
		s := openStore(f, "/blobs", Options{FS: mem})
		defer s.Close()
		for i, n := range sizes {
			put(f, s, blobtest.Octets(uint64(i), n))
		}
		data, err := mem.UnsafeGetFileDataBuffer("/blobs/00000001.seg")
		if err != nil {
			f.Fatal(err)
		}
		return bytes.Clone(data)
	}
	f.Add(seed(100), uint16(0), byte(0))
	f.Add(seed(0, 10, 3000), uint16(70), byte(3))
	f.Add(seed(70_000, 10), uint16(90), byte(9))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, change byte) {
		if int(at) < len(data) {
			data[at] ^= change
		}
		mem := vfs.NewMem()
		if err := mem.MkdirAll("/blobs", 0o700); err != nil {
			t.Fatal(err)
		}
		file, err := mem.Create("/blobs/00000001.seg", writeCategory)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(data); err != nil {
			t.Fatal(err)
		}
		file.Close()
		s := openStore(t, "/blobs", Options{FS: mem})
		defer s.Close()
		for info, err := range s.List(context.Background()) {
			if err != nil {
				t.Fatalf("list: %v", err)
			}
			octets, err := get(s, info.Location)
			if err == nil && int64(len(octets)) != info.Size {
				t.Errorf("%d octets read of %d", len(octets), info.Size)
			}
			if err != nil && !errors.Is(err, blob.ErrDamaged) {
				t.Errorf("read: %v", err)
			}
		}
	})
}
