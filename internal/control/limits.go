package control

import "time"

// What one client may cost. Beyond a rate the client is read more slowly, beyond
// a number it is refused or dropped; each says so where it is used.
const (
	// loginWithin bounds the time from connection to a valid login.
	loginWithin = 10 * time.Second
	// writeWithin bounds one write to a client.
	writeWithin = 10 * time.Second
	// closeWithin bounds the last words to a client and its goodbye.
	closeWithin = 2 * time.Second
	// idlePing is the silence after which a client is pinged, pongWithin the time
	// it has to answer. Clients that can, ping by themselves more often.
	idlePing   = 60 * time.Second
	pongWithin = 30 * time.Second
	// sendQueue is how many messages wait for a slow client before it is dropped.
	sendQueue = 128
	// messageRate and messageBurst bound what is read from one session.
	messageRate  = 50 // per second
	messageBurst = 200
	// maxSwarms is how many swarms one session joins.
	maxSwarms = 1000
	// newAddrs is how many addresses of others one installation learns in an hour.
	newAddrs = 100
	// pairAgain is how soon the same pair is told of each other again.
	pairAgain = 2 * time.Second
	// failedAgain is the same for a pair that could not link, linksEvery how often
	// one session is heard on what became of its pairs.
	failedAgain = 2 * time.Minute
	linksEvery  = 5 * time.Second
	// maxPairs is how many partners a session remembers: those it may blame.
	maxPairs = 512
	// maxBlames is how many blames are counted of one session.
	maxBlames = 100
	// maxReason is how much of the reason of a blame is logged, in bytes.
	maxReason = 32
	// quarantineFor is how long an installation found at fault is not handed out.
	quarantineFor = time.Hour
	// siteSessions, loginRate and loginBurst bound one public address (v6 /64):
	// an office or a carrier's NAT fits, a flood does not.
	siteSessions = 512
	loginRate    = 20 // per second
	loginBurst   = 600
	// grantRate and grantBurst bound the grants given to one public address.
	grantRate  = 20 // per second
	grantBurst = 200
	// maxGrantRequest bounds the body of a grant request, in bytes.
	maxGrantRequest = 16 << 10
	// minPort is the lowest port a peer may announce on an address that is not
	// the one it comes from: peers shall not be sent to other machines' services.
	minPort = 1024

	// reportAge is how long after its grant expired a report is still taken.
	reportAge = 30 * 24 * time.Hour
	// reportKeep is how long the IDs of reports are kept to know doubles: longer
	// than reportAge and a grant's life.
	reportKeep = 60 * 24 * time.Hour
	// reportQueue is how many reports wait for the disk before more are put off.
	reportQueue = 4096
	// reportBatch is how many reports one transaction commits.
	reportBatch = 256
	// maxMillis bounds the duration a report claims.
	maxMillis = int64(30 * 24 * time.Hour / time.Millisecond)

	// sweepEvery is the period of expiry.
	sweepEvery = 10 * time.Second
	// divideEvery is how often members are told anew what they are to fetch from
	// the edge, where their number has changed.
	divideEvery = 500 * time.Millisecond
)

// Refresh is how often clients repeat their joins, unless configured.
const Refresh = 2 * time.Minute
