"""The words in English."""

from provisioner.domain.matters import Kind, Labels, Wording, Words

EN = Wording(
    labels=Labels(
        what="What",
        where="Where",
        since="When",
        todo="What to do",
        count="So far: {count} times; above is the latest",
        still="Still so, since {since}.",
        connection="connection",
        server="server",
        rack="rack",
        order="order",
        ordered="{order} of {panel}",
        job="job",
        nobody="no order",
    ),
    words={
        Kind.RESTRICTED: Words(
            subject="{connection}: {step} fails for the place's fault, orders wait",
            todo=(
                "Look at what {step} needs there: install server, switch, address pool. One order at a time goes on",
                "trying; when it succeeds, all others go on by themselves and you hear of it.",
                "provisioner connection show {connection}",
            ),
            over="{connection}: {step} is no longer held back there; the waiting orders go on by themselves.",
        ),
        Kind.PAUSED: Words(
            subject="{connection}: nothing is called there, orders wait",
            todo=(
                "If its DCIM is away, bring it back: we look by ourselves, and nothing is undone meanwhile.",
                "If it refuses our login, give the right password: `provisioner connection put {connection} …`.",
                "If it was paused by hand: `provisioner connection resume {connection}`.",
                "provisioner connection show {connection}",
            ),
            over="{connection}: it is called again; everything there takes a fresh look and goes on by itself.",
        ),
        Kind.HELD: Words(
            subject="{connection}: a job stands at {step} until a person decides",
            todo=(
                "provisioner job show {job}",
                "then one of job retry, job skip, job swap, job cancel; each says with --dry-run what it would do",
                "All that stand, by cause: provisioner job list --failed",
            ),
            over="{connection}: no job stands at {step} any more.",
        ),
        Kind.GUARD: Words(
            subject="token {token} asked for too much at once: the rest is held",
            todo=(
                "Ask who runs that billing system whether it is meant so. Nothing of it is done meanwhile.",
                "If it is: provisioner token release {token}",
                "If not:   provisioner token drop {token}",
            ),
            over="{by}: nothing that it asked for is held any more.",
        ),
        Kind.FAILED: Words(
            subject="{connection}: {job_kind} failed for good",
            todo=(
                "provisioner job show {job}",
                "When its cause is gone: provisioner job retry {job}",
            ),
            over="{connection}: {job_kind} succeeds again. What failed meanwhile is not repeated by itself.",
        ),
        Kind.QUARANTINED: Words(
            subject="{connection}: {step} failed on server {servers}: out of sale",
            todo=(
                "Look at the machine. Its addresses are free again, it is disabled, its notes say why.",
                "provisioner server show {connection} {server}",
                "When it is good again: provisioner server release {connection} {server}",
                "All of them: provisioner server list --quarantined --connection {connection}",
            ),
            over="{connection}: no server is out of sale for {step} any more.",
        ),
        Kind.RELEASE: Words(
            subject="{connection}: server {server} could not be cleaned up",
            todo=(
                "It can't be sold meanwhile, and we go on trying with growing distance.",
                "provisioner server show {connection} {server}",
                "provisioner job show {job}",
            ),
            over="{connection}: nothing is left to be cleaned up under claim {claim}.",
        ),
        Kind.CALLBACK: Words(
            subject="billing {panel}: its receiver takes no callbacks",
            todo=(
                "Until it does, {panel} does not hear what became of its services; the work itself goes on.",
                "Look at its receiver, then at what we know of it: provisioner callback list",
                "When it answers again: provisioner callback replay {panel} --failed",
            ),
            over="billing {panel}: nothing is given up any more.",
        ),
        Kind.AUDIT: Words(
            subject="{connection}: the audit found what was not there before",
            todo=(
                "Each finding, what it costs, and the command that mends it:",
                "provisioner audit --kept --connection {connection}",
            ),
            over="{connection}: nothing of what the audits found is there any more.",
        ),
        Kind.PLACE: Words(
            subject="{order}: put the customer's machine into its rack at {connection}",
            todo=(
                "It is {hostname} of customer {customer}; they bring: {equipment}.",
                "Mount and cable it, make it a server in {connection} and give it there to the user {user}.",
                "Then say which server it is: {link}",
                "or type: provisioner job answer {job} --server ID",
                "Until {due}; then the administrator in charge is told. Nothing is lost meanwhile.",
            ),
            over="Nothing more is to be done here: it was answered, or the order was withdrawn.",
        ),
        Kind.REMOVE: Words(
            subject="{order}: take the customer's machine out, server {server} of {connection}",
            todo=(
                "It is {hostname} of customer {customer}: {equipment}.",
                "Unmount it, then delete its server in {connection}, or take it there from the user {user}.",
                "Then say that it is done: {link}",
                "{closing} or close this ticket,",
                "or type: provisioner job answer {job} --done",
                "Until {due}; then the administrator in charge is told. Nothing is lost meanwhile.",
            ),
            over="Nothing more is to be done here: the machine is the customer's no more.",
        ),
        Kind.OVERDUE: Words(
            subject="{order}: a person was asked at {asked} and has not answered",
            todo=("Ask them; what they were asked, and who: provisioner job show {job}",),
            over="It is settled now.",
        ),
        Kind.HALTED: Words(
            subject="nothing is done: this database went back, or is a copy",
            todo=(
                "Orders are kept and wait. Look before anything acts:",
                "provisioner audit --after-restore",
            ),
            over="The database was accepted; work goes on.",
        ),
        Kind.SPREADING: Words(
            subject="{connection}: the quarantine grows: {servers}",
            todo=(
                "So many servers of one place are seldom ill by themselves within a day.",
                "Look for what they share: rack, power, switch, image.",
                "provisioner server list --quarantined --connection {connection}",
            ),
            over="{connection}: of the servers that went out of sale together, fewer than the limit still are.",
        ),
        Kind.STUCK: Words(
            subject="messages to {department} are not taken, they wait",
            todo=(
                "The last answer stands above: is the address right, does the mail server take mail for it?",
                "A department that is saved anew gets at once what waits for it:",
                "provisioner department list",
                "What it has not heard of: provisioner ticket list",
            ),
            over="Messages to {department} are taken again.",
        ),
    },
)
