//go:build interop

// Package clawsmail tests postroad's ManageSieve with the filter dialog of Claws Mail, in a
// display of its own and by mouse and keys, as a person does.
package clawsmail

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"postroad/test/peer"
)

const (
	host    = "127.0.4.10"
	user    = "alice@pr.test"
	display = ":77"

	// In the titles of its windows the program says what it asks.
	mainWindow = "Claws Mail"
	manager    = "^Manage Sieve Filters"
)

// The buttons of the manager's window, from its corner at the upper left.
var (
	buttonNew     = place{291, 71}
	buttonEdit    = place{291, 113}
	buttonDelete  = place{291, 156}
	buttonRename  = place{291, 197}
	buttonRefresh = place{291, 240}
	firstScript   = place{60, 90}
	firstActive   = place{205, 90}

	theText = place{200, 150} // of the editor
)

// Those of the editor and of questions lie at the right, x and y from the lower right corner.
var (
	buttonCheck  = place{-190, -28}
	buttonSave   = place{-68, -28}
	buttonAccept = place{-86, -29}
	buttonReally = place{-100, -30}
)

type place struct{ x, y int }

// desk is a person at Claws Mail.
type desk struct {
	testing.TB
	pr    *peer.Postroad
	dir   string
	claws *peer.Process
	seen  int // octets of the program's log that were looked at
}

// profile writes what the program would have asked for at first.
func profile(t testing.TB, home string) {
	// Enabled, no host nor port of its own, TLS at need, the account's name and password.
	sieve := base64.StdEncoding.EncodeToString([]byte("yn ! n4190 2 1 0 ! !"))
	peer.Write(t, home, ".claws-mail/accountrc", fmt.Sprintf("[Account: 1]\naccount_name=alice\nis_default=1\nname=Alice\naddress=%s\n"+
		"protocol=0\nreceive_server=%s\nsmtp_server=%s\nuser_id=%s\nprivacy_prefs=sieve=%s\n", user, host, host, user, sieve))
	plugins, err := filepath.Glob("/usr/lib/*/claws-mail/plugins/managesieve.so")
	if err != nil || len(plugins) != 1 {
		t.Fatalf("the plugin of claws-mail-managesieve: %q, %v", plugins, err)
	}
	peer.Write(t, home, ".claws-mail/clawsrc", "[Common]\nconfig_version=0\ncheck_on_startup=0\n[Plugins_GTK3]\n"+plugins[0]+"\n")
	peer.Write(t, home, ".claws-mail/folderlist.xml", `<?xml version="1.0" encoding="UTF-8"?>
<folderlist><folder type="mh" name="Mail" path="Mail"><folderitem type="inbox" name="inbox" path="inbox"/></folder></folderlist>`)
	if err := os.MkdirAll(filepath.Join(home, "Mail/inbox"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// sit starts the server, the display and the program.
func sit(t *testing.T) *desk {
	d := &desk{TB: t, dir: peer.Dir(t, "claws")}
	d.pr = peer.StartPostroad(t, peer.PostroadOptions{Host: host, Name: "pr.test", Users: []string{"alice"}})
	home := filepath.Join(d.dir, "home")
	profile(t, home)
	peer.Start(t, "Xvfb", d.dir, "Xvfb", display, "-screen", "0", "1024x768x24", "-nolisten", "tcp")
	peer.Eventually(t, "the display", func() bool { _, err := os.Stat("/tmp/.X11-unix/X" + display[1:]); return err == nil })
	d.claws = peer.Start(t, "claws-mail", d.dir, "env", "HOME="+home, "DISPLAY="+display, "GDK_BACKEND=x11", "LC_ALL=C.UTF-8", "NO_AT_BRIDGE=1",
		"claws-mail", "--debug")
	return d
}

func (d *desk) tool(args ...string) (string, error) {
	return peer.Try(append([]string{"env", "DISPLAY=" + display, "xdotool"}, args...)...)
}

// window waits for a window and makes it the one that keys go to.
func (d *desk) window(title string) (id string) {
	d.Helper()
	peer.Eventually(d, "the window "+title, func() bool {
		out, err := d.tool("search", "--onlyvisible", "--name", title)
		all := strings.Fields(out)
		if err != nil || len(all) == 0 {
			return false
		}
		id = all[len(all)-1]
		_, err = d.tool("windowfocus", "--sync", id)
		return err == nil
	})
	time.Sleep(300 * time.Millisecond) // it is being drawn
	return id
}

// click clicks at a place of a window.
func (d *desk) click(title string, at place) {
	d.Helper()
	id := d.window(title)
	out, err := d.tool("getwindowgeometry", "--shell", id)
	if err != nil {
		d.Fatalf("where %s is: %v\n%s", title, err, out)
	}
	size := map[string]int{}
	for line := range strings.Lines(out) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		size[k], _ = strconv.Atoi(v)
	}
	if at.x < 0 {
		at.x += size["WIDTH"]
	}
	if at.y < 0 {
		at.y += size["HEIGHT"]
	}
	if out, err := d.tool("mousemove", "--window", id, strconv.Itoa(at.x), strconv.Itoa(at.y), "click", "1"); err != nil {
		d.Fatalf("click at %v of %s: %v\n%s", at, title, err, out)
	}
}

// keys presses keys in a window; words are typed.
func (d *desk) keys(title string, keys ...string) {
	d.Helper()
	d.window(title)
	for _, k := range keys {
		args := []string{"key", k}
		if rest, words := strings.CutPrefix(k, "type "); words {
			args = []string{"type", rest}
		}
		if out, err := d.tool(args...); err != nil {
			d.Fatalf("keys %v in %s: %v\n%s", keys, title, err, out)
		}
	}
}

// hears waits until the program has noted texts of the dialogue in this order, behind those
// of the last time.
func (d *desk) hears(want ...string) {
	d.Helper()
	at := d.seen
	peer.Eventually(d, fmt.Sprintf("the dialogue %q", want), func() bool {
		log, err := os.ReadFile(d.claws.Log)
		if err != nil {
			d.Fatal(err)
		}
		at = d.seen
		for _, w := range want {
			i := strings.Index(string(log[at:]), w)
			if i < 0 {
				return false
			}
			at += i + len(w)
		}
		return true
	})
	d.seen = at
}

// has waits until the server's scripts are those: "name: text", with "*" the active one.
func (d *desk) has(want string) {
	d.Helper()
	got := ""
	defer func() {
		if got != want {
			d.Errorf("the server has %q, want %q", got, want)
		}
	}()
	peer.Eventually(d, "scripts "+want, func() bool {
		var all []string
		for _, line := range strings.Split(strings.TrimSpace(d.pr.Command("sieve", "list", "--account", user)), "\n") {
			f := strings.Fields(line)
			if len(f) < 3 || f[0] == "NAME" {
				continue
			}
			mark := ""
			if f[1] != "no" {
				mark = "*"
			}
			all = append(all, f[0]+mark+": "+strings.TrimSpace(d.pr.Command("sieve", "show", f[0], "--account", user)))
		}
		got = strings.Join(all, ", ")
		return got == want
	})
}

// TestFilterDialog does what the dialog can: list, delete, make with a fault that Check
// Syntax finds, save, rename, edit, activate.
func TestFilterDialog(t *testing.T) {
	d := sit(t)
	d.pr.Command("sieve", "put", "old", peer.Write(t, d.dir, "old.sieve", "discard;\r\n"), "--account", user)
	d.window(mainWindow)
	d.keys(mainWindow, "alt+t", "Up", "Return") // Tools, Manage Sieve Filters
	d.keys("^Input password", "type "+peer.Password, "Return")
	d.click("^TLS certificate", buttonAccept)
	d.hears("Begin TLS", "Sieve> LISTSCRIPTS", `Sieve< "old"`, "Sieve< OK")
	d.has("old: discard;")

	d.click(manager, firstScript)
	d.click(manager, buttonDelete)
	d.click("^Delete filter", buttonReally)
	d.hears("Sieve> DELETESCRIPT \"old\"", "Sieve< OK")
	d.has("")

	d.click(manager, buttonNew)
	d.keys("^Add Sieve script", "type main", "Return")
	const editor = "^main - Sieve Filter"
	d.keys(editor, "type nonsense;")
	d.click(editor, buttonCheck)
	d.hears("Sieve> CHECKSCRIPT", `Sieve< NO "line 1, column 1: there is no command`)
	d.has("")
	d.click(editor, theText)
	d.keys(editor, "ctrl+a", "type keep;")
	d.click(editor, buttonCheck)
	d.hears("Sieve> CHECKSCRIPT", "Sieve< OK")
	d.click(editor, buttonSave)
	d.hears(`Sieve> PUTSCRIPT "main"`, "Sieve< OK")
	d.has("main: keep;")
	d.keys(editor, "ctrl+w")

	d.click(manager, buttonRefresh)
	d.hears("Sieve> LISTSCRIPTS", `Sieve< "main"`, "Sieve< OK")
	d.click(manager, firstScript)
	d.click(manager, buttonRename)
	d.keys("^Add Sieve script", "ctrl+a", "type renamed", "Return") // the title is the program's
	d.hears(`Sieve> RENAMESCRIPT "main" "renamed"`, "Sieve< OK")
	d.has("renamed: keep;")

	d.click(manager, firstScript)
	d.click(manager, buttonEdit)
	const again = "^renamed - Sieve Filter"
	d.hears(`Sieve> GETSCRIPT "renamed"`, "Sieve< OK")
	d.click(again, theText)
	d.keys(again, "ctrl+a", "type stop;")
	d.click(again, buttonSave)
	d.has("renamed: stop;")
	d.keys(again, "ctrl+w")
	d.click(manager, firstActive)
	d.hears(`Sieve> SETACTIVE "renamed"`, "Sieve< OK")
	d.has("renamed*: stop;")
}
