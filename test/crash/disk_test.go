package crash

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/test/peer"
)

// image is a file system in a file, mounted. Its journal commits by itself only every five
// minutes, so that what reached the file got there because somebody asked for a sync.
type image struct {
	t           *testing.T
	file, mount string
}

func newImage(t *testing.T, megabytes string) *image {
	peer.NeedRoot(t)
	dir := peer.Dir(t, "image")
	i := &image{t: t, file: filepath.Join(dir, "disk.img"), mount: filepath.Join(dir, "mnt")}
	peer.Run(t, "truncate", "-s", megabytes+"M", i.file)
	peer.Run(t, "mkfs.ext4", "-q", "-m", "0", i.file)
	if err := os.Mkdir(i.mount, 0o755); err != nil {
		t.Fatal(err)
	}
	i.up()
	t.Cleanup(i.down)
	return i
}

func (i *image) up() { peer.Run(i.t, "mount", "-o", "loop,commit=300", i.file, i.mount) }

func (i *image) down() {
	// The program may need a moment to let go.
	for range 50 {
		if _, err := peer.Try("umount", i.mount); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	peer.Try("umount", "-l", i.mount)
}

// TestFullDisk fills the disk under load until deliveries are refused, kills the program
// there, and looks whether all is well; then makes room and delivers again.
func TestFullDisk(t *testing.T) {
	disk := newImage(t, "300")
	r := start(t, disk.mount, "[limits]\ndisk_reserve = \"64MB\"\n")
	for range cycles(1) {
		r.fill()
		stop := r.load()
		time.Sleep(time.Duration(200+r.rng.IntN(1000)) * time.Millisecond)
		r.pr.Kill()
		stop()
		r.pr.Restart()
		r.verify()
		if t.Failed() {
			t.FailNow()
		}
		r.makeRoom()
	}
	r.pr.Command("check")
}

// fill sends large messages until one is refused.
func (r *run) fill() {
	r.t.Helper()
	addr := r.pr.Addr(peer.PortSMTP)
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		c, err := dialSMTP(addr, "EHLO")
		if err != nil {
			r.t.Fatal(err)
		}
		for {
			name := r.in.next("fill")
			if err := c.deliver(text(name, 2_000_000), false, "in2@pr.test"); err != nil {
				c.c.Close()
				if strings.Contains(err.Error(), "452 4.3.1") {
					return
				}
				r.t.Fatalf("a full disk is answered %v, not 452 4.3.1", err)
			}
			r.in.ack(name, "in2@pr.test")
		}
	}
	r.t.Fatal(errNotRefused)
}

// makeRoom deletes what was delivered, and waits until deliveries are taken again.
func (r *run) makeRoom() {
	r.t.Helper()
	for _, user := range []string{"in1@pr.test", "in2@pr.test"} {
		r.empty(user)
	}
	for name, to := range r.in.acked {
		if to[0] != "far@sink.test" {
			delete(r.in.acked, name)
		}
	}
	// Records stay for a minute for readers that have them in sight.
	for end := time.Now().Add(3 * time.Minute); !r.again(); time.Sleep(time.Second) {
		if time.Now().After(end) {
			r.t.Fatal("no room after deleting")
		}
	}
}

// again tells whether deliveries are taken.
func (r *run) again() bool {
	c, err := dialSMTP(r.pr.Addr(peer.PortSMTP), "EHLO")
	if err != nil {
		return false
	}
	defer c.c.Close()
	name := r.in.next("again")
	if c.deliver(text(name, 1000), false, "in2@pr.test") != nil {
		return false
	}
	r.in.ack(name, "in2@pr.test")
	return true
}

// empty deletes all messages of a user's INBOX.
func (r *run) empty(user string) {
	r.t.Helper()
	c, err := dialIMAP(r.pr.Addr(peer.PortIMAP), user)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.c.Close()
	must(r.t, c, "SELECT INBOX")
	must(r.t, c, `STORE 1:* +FLAGS.SILENT (\Deleted)`)
	must(r.t, c, "EXPUNGE")
}
