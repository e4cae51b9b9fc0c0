// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl batch: many questions to one guest, a line each on standard input
 *
 * Each line has a process of its own: an error ends that process, as it ends vmemctl, with
 * all that the question had begun. An image is opened once. Of a guest that runs each line
 * has a session and a connection to QEMU: spaces are set once in a session, and nobody
 * gets the answer that another line did not wait for. The process that reads the lines
 * keeps its rights, and reads nothing of the guest.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmemctl.h"

#define BLANKS " \t\r\n"

/**
 * struct batch - the batch
 * @opts: what holds for all lines
 * @pid: of the process that reads the lines
 * @vmm: names the guest's process, or -1
 * @line: number of the line, from 1
 * @failed: a line has failed
 */
struct batch {
	struct opts *opts;
	pid_t pid;
	int vmm;
	unsigned long line;
	bool failed;
};

/* The same guest: its PID may be another's by now. */
static void attach(const struct batch *batch, struct opts *opts)
{
	struct pollfd vmm = { .fd = batch->vmm, .events = POLLIN };

	guest_attach(opts, &opts->vm, 1);
	if (poll(&vmm, 1, 0) > 0)
		die("process %d has ended", (int)opts->pid);
}

/* The words of a line, which is cut into them, behind what getopt's messages begin with */
static char **split(const struct batch *batch, char *text, int *nr)
{
	char **words = calloc(strlen(text) / 2 + 3, sizeof(*words));

	if (!words ||
	    asprintf(&words[(*nr)++], "vmemctl: line %lu", batch->line) < 0)
		die("out of memory for the words");
	for (char *word = strtok(text, BLANKS); word;
	     word = strtok(NULL, BLANKS)) {
		if (!strcmp(word, "-"))
			usage("-: the batch reads standard input: give the addresses themselves");
		words[(*nr)++] = word;
	}
	return words;
}

/* In a process of its own. Leaving it must not move the offset of standard input. */
static noreturn void answer(const struct batch *batch, char *text)
{
	static struct opts opts;
	char **words;
	int nr = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != batch->pid)
		exit(EXIT_FAILED);
	close(STDIN_FILENO);
	report_line(batch->line);
	if (batch->opts->json)
		json_expect();
	opts = *batch->opts;
	opts.nr_args = 0;
	opts.given = 0;
	opts.has_cr3s = false;
	opts.source.cr3s = opts.cr3s;
	opts.scope.excluded = opts.excluded;
	if (!opts.vm)
		attach(batch, &opts);
	confine(CONFINED);
	words = split(batch, text, &nr);
	exit(command_line(nr, words, &opts));
}

static void check_end(struct batch *batch, int status)
{
	if (WIFSIGNALED(status))
		die("line %lu: ended by signal %d", batch->line,
		    WTERMSIG(status));
	if (WEXITSTATUS(status) == EXIT_CUT)
		exit(EXIT_FAILED);
	batch->failed |= WEXITSTATUS(status) != 0;
}

static void ask(struct batch *batch, char *text)
{
	struct pollfd reader = { .fd = STDOUT_FILENO };
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		answer(batch, text);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("line %lu: cannot have a process for it: %m", batch->line);
	check_end(batch, status);
	if (poll(&reader, 1, 0) > 0 && reader.revents & POLLERR)
		exit(EXIT_FAILED); /* no reader, no message */
}

static bool is_question(const char *text)
{
	text += strspn(text, BLANKS);
	return *text && *text != '#';
}

/* An image stays. Of a guest that runs it is known now that it can be asked. */
static void begin(struct batch *batch, struct opts *opts)
{
	batch->vmm = syscall(SYS_pidfd_open, opts->pid, 0);
	attach(batch, opts);
	if (opts->image)
		return;
	libvmem_qmp_close(opts->source.qmp);
	libvmem_close(opts->vm);
	opts->source.qmp = NULL;
	opts->vm = NULL;
}

static void run(struct opts *opts, int nr_args, char **args)
{
	struct batch batch = { .opts = opts, .pid = getpid() };
	char *text = NULL;
	size_t room = 0;
	ssize_t len;

	if (nr_args)
		usage("batch takes no argument, but '%s': questions are lines of standard input",
		      args[0]);
	opts->batch = true;
	begin(&batch, opts);
	while ((len = getline(&text, &room, stdin)) >= 0) {
		batch.line++;
		if (strlen(text) != (size_t)len)
			die("line %lu has a NUL: give text", batch.line);
		if (is_question(text))
			ask(&batch, text);
	}
	if (!feof(stdin))
		die("cannot read standard input: %m");
	free(text);
	opts->batch = false;
	guest_close(opts->vm, opts);
	if (batch.failed)
		exit(EXIT_FAILED);
}

const struct command batch_command = {
	.name = "batch",
	.args = "",
	.summary = "answers a question a line from standard input",
	.help = "Read questions from standard input, one a line, and answer each before the\n"
		"next one is read. An image is opened once.\n"
		"\vA line is a command with its options and arguments, split at blanks, as\n"
		"in \"maps 0 fff\" or \"--cr3 1000 vtop 400000\"; empty lines, and those that\n"
		"begin with #, are passed over. Options before `batch' hold for all lines;\n"
		"a line's --cr3 replaces them. What names the guest (--pid, --image, --qmp,\n"
		"...) is not for lines, nor are snapshot, graph, debugfs and mount. After an\n"
		"error, which names the line, the next one is answered; the exit status is 1\n"
		"then. With -j each line has one line of JSON as its answer, errors too,\n"
		"which is what a program that talks to the batch wants.",
	.takes = ~(TAKES_OUTPUT | TAKES_SNAPSHOT),
	.alone = true,
	.run = run,
};
