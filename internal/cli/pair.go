package cli

import (
	"fmt"
	"time"

	"github.com/tandem-cdn/tandem/internal/config"
)

type pairCmd struct{ config.Pair }

// Help implements [kong.HelpProvider].
func (*pairCmd) Help() string {
	return `Web pages cannot use the gateway of the agent unless its user says so: this prints a code for one page, which may be used once, within five minutes. Enter it there. The page is known by its origin, such as https://player.example, from then on.`
}

// Run implements the command.
func (c *pairCmd) Run(p *process) error {
	client, err := dialAgent(p, c.Data)
	if err != nil {
		return err
	}
	defer client.Close()
	switch {
	case c.Revoke != "":
		if err := client.Unpair(p.ctx, c.Revoke); err != nil {
			return err
		}
		fmt.Fprintln(p.Stdout, "no longer paired:", printable(c.Revoke))
		return nil
	case c.List:
		list, err := client.Pairings(p.ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(p.Stdout, list)
		}
		for _, page := range list {
			fmt.Fprintf(p.Stdout, "%s  since %s\n", printable(page.Origin), page.Since.Format(time.DateTime))
		}
		return nil
	}
	code, err := client.Pair(p.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(p.Stdout, code)
	}
	fmt.Fprintf(p.Stdout, "%s\nEnter this code on the page, until %s; it is for the gateway at %s.\n", code.Code, code.Until.Format(time.TimeOnly), code.URL)
	return nil
}
