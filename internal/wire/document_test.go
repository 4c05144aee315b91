package wire

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The specification names everything the program knows, with the same numbers.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	var want []string
	for typ, name := range typeNames {
		want = append(want, fmt.Sprintf("| %d | %s |", typ, name))
	}
	for _, typ := range []string{
		MsgChallenge, MsgWelcome, MsgPeers, MsgAck, MsgError, MsgLogin,
		MsgUpdate, MsgJoin, MsgLeave, MsgFind, MsgReport, MsgBlame,
	} {
		want = append(want, strings.ToUpper(typ))
	}
	for _, code := range []string{CodeBadMessage, CodeBadLogin, CodeBadGrant, CodeBadReport, CodeOverload, CodeVersion} {
		want = append(want, fmt.Sprintf("| `%s` |", code))
	}
	for name, n := range map[string]int{
		"frame: type and body": MaxFrame, "data of one PIECE": MaxData, "grant": MaxGrant,
		"piece numbers in one HAVE": MaxHaves, "requests outstanding on a link, each way": MaxRequests,
		"channels on a link, each way": MaxChannels, "agent name": MaxAgent, "reason of BYE": MaxReason,
		"well-known document": MaxWellKnown, "control message": MaxControlMessage,
		"candidates in one message": MaxCandidates, "addresses of one peer": MaxAddrs, "receipts in one report": MaxReceipts,
	} {
		want = append(want, fmt.Sprintf("| %s | %s", name, thousands(n)))
	}
	want = append(
		want, ALPN, ManifestType, ChunksType, TrackType, TrackPagesType, WellKnownPath,
		quoted(loginContext), quoted(receiptContext),
		fmt.Sprintf("within %d seconds", int(HelloWithin.Seconds())),
		fmt.Sprintf("nothing for %d seconds sends PING", int(PingAfter.Seconds())),
		fmt.Sprintf("nothing for %d seconds gives the link\nup", int(DeadAfter.Seconds())),
	)
	for _, w := range want {
		if !strings.Contains(doc, w) {
			t.Errorf("docs/PROTOCOL.md does not say %q", w)
		}
	}
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// quoted is how the document writes a context.
func quoted(context string) string {
	return `"` + strings.TrimSuffix(context, "\x00") + `\0"`
}
