package main

import (
	"context"
	"errors"
	"strconv"

	"postroad/internal/admin"
)

type queueCommand struct {
	List    queueList    `cmd:"" default:"withargs" help:"List what waits."`
	Show    queueShow    `cmd:"" help:"Show one item, or all items of a mail."`
	Retry   queueRetry   `cmd:"" help:"Try now."`
	Hold    queueHold    `cmd:"" help:"Keep from being tried, until released."`
	Release queueRelease `cmd:"" help:"Undo hold; tried at once."`
	Delete  queueDelete  `cmd:"" help:"Take away without telling the sender."`
}

// Help is the text below the usage.
func (queueCommand) Help() string {
	return `An item is the recipients of one mail that share a next hop.

Examples:
  postroad queue list --recipient @example.net
  postroad queue retry --all
  postroad queue delete 0a1b2c3d4e5f6`
}

// queueFilter selects items.
type queueFilter struct {
	State     string `placeholder:"STATE" help:"Only active, ready, deferred, timed or held."`
	Sender    string `placeholder:"TEXT" help:"Only with this in the return path."`
	Recipient string `placeholder:"TEXT" help:"Only with this in a recipient."`
	Hop       string `name:"next-hop" placeholder:"TEXT" help:"Only with this in the next hop."`
}

func (f *queueFilter) filter() admin.QueueFilter {
	return admin.QueueFilter{State: f.State, Sender: f.Sender, Recipient: f.Recipient, Hop: f.Hop}
}

type queueList struct {
	queueFilter
	Limit int `default:"1000" help:"Items at the most."`
}

// Help is the text below the usage.
func (queueList) Help() string { return "Example:\n  postroad queue list --state deferred" }

func (q queueList) Run(ctx context.Context, p *program) error {
	var out admin.QueueListed
	if err := p.call(ctx, "queue.list", admin.QueueList{QueueFilter: q.filter(), Limit: q.Limit}, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() {
		if len(out.Items) == 0 {
			p.say("The queue is empty.")
			return
		}
		rows := [][]string{{"ID", "STATE", "SIZE", "FROM", "TO", "NEXT HOP", "DUE", "REASON"}}
		for _, i := range out.Items {
			to := i.Recipients[0].Address
			if n := len(i.Recipients) - 1; n > 0 {
				to += " and " + strconv.Itoa(n) + " more"
			}
			rows = append(rows, []string{i.ID, i.State, octets(i.SizeBytes), "<" + i.ReturnPath + ">", to, i.Hop, when(i.Due), i.Reason})
		}
		p.table(rows)
		if out.More {
			p.say("There are more; see --limit.")
		}
	})
}

type queueShow struct {
	ID string `arg:"" help:"Id of an item or a mail."`
}

// Help is the text below the usage.
func (queueShow) Help() string { return "Example:\n  postroad queue show 0a1b2c3d4e5f6" }

func (q queueShow) Run(ctx context.Context, p *program) error {
	var out []admin.QueueItem
	if err := p.call(ctx, "queue.show", admin.QueueRef{ID: q.ID}, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() {
		for _, i := range out {
			p.fields("id", i.ID, "state", i.State, "from", "<"+i.ReturnPath+">", "size", octets(i.SizeBytes), "received", when(i.Received),
				"by", i.Protocol, "client", i.Client, "next hop", i.Hop, "attempts", strconv.Itoa(i.Attempts), "last try", when(i.LastTry),
				"due", when(i.Due), "expires", when(i.Expires), "reason", i.Reason)
			for _, r := range i.Recipients {
				p.fields("  to", r.Address, "  said", r.Last, "  by", r.MTA)
			}
		}
	})
}

// queueSelect names the items a verb is for.
type queueSelect struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Ids of items or mails."`
	All bool     `help:"All that match the filters, instead of ids."`
	queueFilter
}

// run runs the verb over the selected items.
func (q *queueSelect) run(ctx context.Context, p *program, verb, done string) error {
	in := admin.QueueSelect{IDs: q.IDs}
	if q.All == (len(q.IDs) > 0) {
		return &exitError{exitUsage, errors.New("name ids, or --all")}
	}
	if f := q.filter(); q.All {
		in.All = &f
	} else if f != (admin.QueueFilter{}) {
		return &exitError{exitUsage, errors.New("filters go with --all")}
	}
	var out admin.QueueDone
	if err := p.call(ctx, verb, in, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.say("%d %s.", out.Items, done) })
}

type queueRetry struct{ queueSelect }

// Help is the text below the usage.
func (queueRetry) Help() string {
	return "Examples:\n  postroad queue retry 0a1b2c3d4e5f6\n  postroad queue retry --all --next-hop example.net"
}

func (q queueRetry) Run(ctx context.Context, p *program) error {
	return q.run(ctx, p, "queue.retry", "to be tried now")
}

type queueHold struct{ queueSelect }

// Help is the text below the usage.
func (queueHold) Help() string { return "Example:\n  postroad queue hold --all --sender spammer@" }

func (q queueHold) Run(ctx context.Context, p *program) error {
	return q.run(ctx, p, "queue.hold", "held")
}

type queueRelease struct{ queueSelect }

// Help is the text below the usage.
func (queueRelease) Help() string { return "Example:\n  postroad queue release --all" }

func (q queueRelease) Run(ctx context.Context, p *program) error {
	return q.run(ctx, p, "queue.release", "released")
}

type queueDelete struct{ queueSelect }

// Help is the text below the usage.
func (queueDelete) Help() string {
	return "Example:\n  postroad queue delete --all --state held --sender spammer@"
}

func (q queueDelete) Run(ctx context.Context, p *program) error {
	return q.run(ctx, p, "queue.delete", "deleted")
}
