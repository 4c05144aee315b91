package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/agentapi"
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/node"
)

type getCmd struct {
	URL        []string `arg:"" help:"What to download." placeholder:"URL"`
	Output     string   `short:"o" help:"Write to this file instead of one named after the URL; \"-\" is standard output." placeholder:"FILE"`
	RemoteName bool     `short:"O" help:"Name the file after the URL; this is the default."`
	Continue   bool     `short:"C" help:"Continue an interrupted download."`

	Priority fetch.Class   `help:"How long it may take: interactive (no longer than from the edge alone), normal (hardly longer), background (peers have time; see --finish-by)." default:"normal" placeholder:"WORD"`
	FinishBy time.Duration `help:"With --priority=background: the time in which it must be done." placeholder:"DURATION"`

	Force bool     `short:"f" help:"Overwrite an existing file."`
	From  []string `help:"A file with an older version: what has not changed comes from there. Not needed for a file that -f replaces, nor for what the same URL gave before. Can be repeated." sep:"none" placeholder:"OLD"`
	Fresh bool     `help:"Take nothing from older versions, of which there may be some by the same URL."`
	config.Get
}

// Help implements [kong.HelpProvider].
func (*getCmd) Help() string {
	return `While it runs, verified pieces are given to other clients unless --upload off says otherwise. A running agent does the work, and keeps sharing, unless --alone or a limit of this command's own is given.

A manifest that is forged or damaged ends the download with code 9; where there is none, the file comes as with curl. --no-p2p asks for neither manifest nor peers.

` + exitHelp
}

// Run implements the command.
func (c *getCmd) Run(p *process) error {
	if c.Data == "" {
		c.Data = config.DataDir("get")
	}
	header, err := parseHeaders(c.Header)
	if err != nil {
		return usage(err)
	}
	switch {
	case len(c.URL) > 1 && c.Output != "":
		return usage(errors.New("-o names one file, but there are several URLs"))
	case c.Output != "" && c.RemoteName:
		return usage(errors.New("-o and -O exclude each other"))
	case c.FinishBy != 0 && c.Priority != fetch.Background:
		return usage(errors.New("--finish-by goes with --priority=background"))
	case c.FinishBy < 0:
		return usage(fmt.Errorf("--finish-by %v: it is over already", c.FinishBy))
	}
	if err := c.findOld(); err != nil {
		return usage(err)
	}
	return runGet(p.ctx, p, getOptions{getCmd: *c, header: header})
}

// findOld makes the names of older versions good for an agent, which has another
// working directory.
func (c *getCmd) findOld() error {
	if len(c.From) > 0 && c.NoP2P {
		return errors.New("--from needs the manifest, which --no-p2p does not ask for")
	}
	if len(c.From) > 0 && c.Fresh {
		return errors.New("--from and --fresh exclude each other")
	}
	for i, name := range c.From {
		fi, err := os.Stat(name)
		if err == nil && !fi.Mode().IsRegular() {
			err = errors.New("not a regular file")
		}
		if err != nil {
			return fmt.Errorf("--from %s: %w", name, err)
		}
		if c.From[i], err = filepath.Abs(name); err != nil {
			return fmt.Errorf("--from %s: %w", name, err)
		}
	}
	return nil
}

type getOptions struct {
	getCmd
	header http.Header
}

// download is one in this process or in the agent's.
type download interface {
	Progress() agent.Progress
	Wait(ctx context.Context) (agent.Result, error)
	Close() error
}

// downloader is this process's engine or the running agent.
type downloader interface {
	Download(ctx context.Context, req agent.Request) (download, error)
	Close() error
}

func runGet(ctx context.Context, p *process, o getOptions) (err error) {
	d, shared, err := newDownloader(ctx, p, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var seeds []download
	defer func() {
		for _, s := range seeds {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, u := range o.URL {
		dl, e := getOne(ctx, p, d, o, u)
		if dl != nil {
			seeds = append(seeds, dl)
		}
		if e != nil && len(o.URL) > 1 {
			fmt.Fprintln(p.Stderr, errorLine("get", e))
			e = marked{e, errShown}
		}
		// The first error decides the exit code; the other URLs may still do.
		err = cmp.Or(err, e)
		if ctx.Err() != nil {
			return err
		}
	}
	if o.Linger > 0 && !shared && len(seeds) > 0 {
		linger(ctx, p, o, seeds)
	}
	return err
}

// newDownloader prefers the running agent; shared says that it is the one, which
// keeps what it fetched.
func newDownloader(ctx context.Context, p *process, o getOptions) (d downloader, shared bool, err error) {
	own := o.Alone || o.NoP2P || !o.Uploads() || o.UploadLimit > 0 || o.UploadMonthly > 0 || o.DownloadMonthly > 0 || len(o.QuietHours) > 0 ||
		o.Governor == "off" || o.LimitRate > 0 || o.CA != "" || o.Output == "-"
	if !own {
		client, err := agentapi.Dial(ctx, o.Data)
		if err == nil {
			return remote{client}, true, nil
		}
		if !errors.Is(err, agentapi.ErrNoAgent) {
			p.log.Warn("agent not usable, downloading alone", "error", err)
		}
	}
	cfg := node.EngineConfig(o.Sharing, p.env())
	cfg.MapPorts = o.PortMapping == "on"
	e, err := agent.New(cfg)
	if err != nil {
		return nil, false, err
	}
	return local{e}, false, nil
}

// getOne downloads one URL and reports it. The download that it returns shares
// what it has until it is closed.
func getOne(ctx context.Context, p *process, d downloader, o getOptions, rawURL string) (download, error) {
	req, name, err := request(ctx, o, rawURL)
	if err != nil {
		return nil, err
	}
	dl, err := d.Download(ctx, req)
	if err != nil {
		return nil, err
	}
	var line *progressLine
	show := func(agent.Progress) {}
	switch {
	case o.Quiet:
	case o.Progress == "json":
		enc := json.NewEncoder(p.Stderr)
		show = func(pr agent.Progress) { _ = enc.Encode(agentapi.NewTransfer(rawURL, name, pr)) }
	default:
		line = newProgressLine(p.Stderr, filepath.Base(cmp.Or(name, rawURL)))
		show = line.draw
	}
	result, err := follow(ctx, dl, show)
	line.clear()
	if err != nil {
		if ctx.Err() != nil {
			err = interrupted(o, rawURL, req.File, dl.Progress())
		}
		return nil, errors.Join(err, dl.Close())
	}
	if o.Output == "-" {
		err = copyOut(p.Stdout, result.File)
	} else {
		result.File = name
	}
	if line != nil {
		fmt.Fprintln(p.Stderr, summary(result))
	}
	if result.Warning != "" && !o.Quiet {
		fmt.Fprintln(p.Stderr, "tandem get: "+oneLine(result.Warning))
	}
	if o.JSON && err == nil {
		err = printResult(p.Stdout, result)
	}
	return dl, err
}

// request is what to ask the engine for, and the file as the user would say it:
// an agent has another working directory.
func request(ctx context.Context, o getOptions, rawURL string) (req agent.Request, name string, err error) {
	req = agent.Request{URL: rawURL, Resume: o.Continue, Overwrite: o.Force, From: o.From, Fresh: o.Fresh, Header: o.header, Class: o.Priority, FinishBy: o.FinishBy}
	name = o.Output
	switch {
	case name == "-":
		return req, "", nil
	case name == "":
		name = fileName(ctx, rawURL, o.header, o.CA)
	case isDir(name):
		name = filepath.Join(name, fileName(ctx, rawURL, o.header, o.CA))
	}
	if req.File, err = filepath.Abs(name); err != nil {
		return req, name, fmt.Errorf("%s: %w: %w", name, agent.ErrDisk, err)
	}
	return req, name, nil
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}

// follow shows the progress until the download ends.
func follow(ctx context.Context, dl download, show func(agent.Progress)) (agent.Result, error) {
	for {
		tick, cancel := context.WithTimeout(ctx, progressEvery)
		result, err := dl.Wait(tick)
		late := tick.Err() != nil && ctx.Err() == nil && errors.Is(err, agent.ErrInterrupted)
		cancel()
		if !late {
			return result, err
		}
		show(dl.Progress())
	}
}

// interrupted says how far it was and how to continue.
func interrupted(o getOptions, rawURL, file string, p agent.Progress) error {
	at := ""
	if p.Size > 0 {
		at = fmt.Sprintf(" at %d%%", p.Done*100/p.Size)
	}
	if file == "" {
		return fmt.Errorf("%s: %w%s", rawURL, agent.ErrInterrupted, at)
	}
	output := ""
	if o.Output != "" {
		output = " -o " + quote(o.Output)
	}
	return fmt.Errorf("%s: %w%s; continue with: tandem get -C%s %s", rawURL, agent.ErrInterrupted, at, output, quote(rawURL))
}

// quote makes one word of s for a shell.
func quote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune("@%+=:,./-_~", r) && !isWord(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func isWord(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

func parseHeaders(lines []string) (http.Header, error) {
	h := http.Header{}
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") || strings.ContainsAny(value, "\r\n") {
			return nil, fmt.Errorf("header %.60q: want \"Name: value\"", l)
		}
		h.Add(textproto.CanonicalMIMEHeaderKey(name), value)
	}
	return h, nil
}
