/**
 * What `--help` says: one screen each.
 *
 * @module
 */

/** The help text. */
export const HELP = `Keeps a pool of worker processes alive, and turns the signals it gets into signals for them.

  prefork [run] WORKER [options] [-- args...]     a module (path or URL); options before or after it
  prefork [run] [options] -- COMMAND [args...]    any program
  prefork list|status|top|reload|upgrade|scale|signal|logs|reopen|stop|check|completion  each has --help
  For "prefork" write "deno run -A mod.ts" or "bun run mod.ts".    -h, --help, -V, --version

Pool
  -w, --workers N         how many workers (default: WEB_CONCURRENCY, else one for each CPU)
  --spare MIN:MAX         as many as keep MIN to MAX idle, at most N (workers tell by setStatus)
  --standby N             how many booted workers wait to take the place of one that ends (default 0)
  -t, --trap SIG=ACTION   USR2=reload, or what workers get: HUP=TERM, HUP=TERM:500 (staggered), HUP=none
  --surge N  --unavailable N   how many more workers a reload may have (1), how many less (0)
  --boot-timeout TIME     how long a worker may take to be ready (30s, 500ms; default 30s)
  --ready-when CHECK      what is asked until it is: /healthz, or tcp:HOST:PORT (docs/serving.md)
  --stop-timeout TIME     how long to stop before SIGKILL (default 30s, or 30s more than a longer drain)
  --hang-timeout TIME     how long a worker's event loop may stand still (default: any time)
  --max-requests N  --max-lifetime 1h  --max-memory 512M   when a worker is replaced (default: never)
Sockets (bound once, shared by all workers; more in docs/serving.md)
  -l, --listen ADDR       PORT, HOST:PORT, [v6]:PORT, unix:PATH, fd:N or inherit, with NAME= if wished;
                          repeatable (default: what systemd or start_server gave, else PORT for modules)
  --backlog N  --socket-mode 660  --socket-owner USER[:GROUP]  --no-adoption
  --drain-timeout TIME    how long a worker told to stop may answer what is open (default 10s)
  --drain-delay TIME      how long all serve on after a stop before they are told (default 0)
Workers
  --runtime RUNTIME       deno, bun, or the path of one (default: the manager's own)
  --allow-... --deny-...  permissions of workers on Deno (default: the manager's own)
  --user U  --group G     run workers as somebody else (root only); --umask 027  --rlimit nofile=65536
  --cwd DIR  --env-file FILE   their directory, and NAME=value lines for what their environment lacks
  --watch                 new workers whenever a file is saved that they are made of (for development)
Manager (docs/operating.md; its commands: prefork status --help)
  --name NAME  --pid-file FILE  --control PATH    what it is called, and where it is found
  --status-listen PORT  --status-token-file FILE  a page for people, metrics and probes, by HTTP
  --config FILE  --print-config    options from a file; prefork.config.ts, where no WORKER is named
  --log-format pretty|json|plain|journal  --output named|lines|inherit   the log, and what workers print
  --log-file FILE  --daemonize    both to a file; and in the background, once all is ready

Signals  TERM, INT, QUIT stop, a second one at once; TTIN, TTOU: one worker more, one less; HUP
         replaces all workers, USR2 the manager with them, if the new ones come to be ready
Status   0 stopped as asked, 1 lost its socket, 2 bad command line, 3 no worker ever became ready,
         128+n died of signal n

  prefork examples/hello.ts -l 8080 -w 4              a module that exports { fetch }, on port 8080
  prefork app.ts --runtime bun -t HUP=TERM:1s -- -v   on Bun, replaced one a second on HUP; -v is theirs
  prefork run -w 4 -- ./worker.py --queue mail        four of any program
`;

/** The help text of the commands for managers that run. */
export const ORDER_HELP = `Asks a manager that runs, of the same user, or has it do something.

  prefork list [--json]                  all managers: name, pid, state, workers, addresses
  prefork status [NAME] [--json] [--watch]   one manager and its workers
  prefork top [NAME]                     the same, live, with keys to reload, scale and stop
  prefork reload [NAME] [--wait]         new workers for all, if the first one comes to be ready
  prefork upgrade [NAME] [--wait]        a new manager, of the program as it is now, with new workers
  prefork scale N [NAME]                 N workers from now on
  prefork signal SIG [NAME] [--slot N]   a signal for all workers, or for the one in slot N
  prefork logs [NAME] [-f] [-n LINES]    the end of its log file, and with -f what comes to it
  prefork reopen [NAME]                  begins the log file anew, after it was moved away
  prefork stop [NAME] [--wait] [--now]   stops; --now kills the workers
  prefork check WORKER [options]         boots one worker, with the options of a run ("prefork --help")
                                         but apart from all: does it come to be ready? No manager needed

  prefork completion bash|zsh|fish       for the shell to evaluate: eval "$(prefork completion bash)"

  NAME is what "prefork list" shows; it can be left out where only one manager runs.
  --name NAME             the same
  --control PATH          the socket itself, as it was given to the manager
  --wait                  wait for the end, and show on standard error how it goes
  --json                  one line of JSON; docs/operating.md tells what is in it
  --watch                 once a second, until Ctrl-C

Status  0 done; 1 refused, or failed: the reason is told; 2 bad command line; 3 no such manager, or a
        worker that is not ready

  prefork status web                     is it well?
  prefork reload web --wait && echo ok   a deploy that fails leaves the old workers, and says why
  prefork stop web --wait                when this returns, the manager is gone
`;
