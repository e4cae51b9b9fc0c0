// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmemctl graph: pictures of address spaces
 *
 * Spaces and the tables that they share are laid out by Graphviz, which has to be
 * started before this process is confined.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph.h"
#include "new_file.h"

#define NOBODY 65534

bool is_exposed(unsigned int rights)
{
	return (rights & VMEM_WRITABLE) && (rights & VMEM_EXECUTABLE);
}

const char *rights_name(unsigned int rights)
{
	static const char *const names[NR_RIGHTS] = {
		"r--s", "rw-s", "r--u", "rw-u", "r-xs", "rwxs", "r-xu", "rwxu",
	};

	return names[rights % NR_RIGHTS];
}

/* Colour-blind people and printers without colours tell them apart by lightness. */
const char *rights_colour(unsigned int rights)
{
	static const char *const colours[NR_RIGHTS] = {
		"#dcdcdc", "#6cb6ea", "#f2f2f2", "#9fcff2",
		"#c08a2d", "#ff5a4d", "#dfb267", "#ff8f85",
	};

	return colours[rights % NR_RIGHTS];
}

__u64 amount_total(const struct amount *amount)
{
	__u64 total = 0;

	for (int i = 0; i < NR_RIGHTS; i++)
		total += amount->bytes[i];
	return total;
}

void amount_add(struct amount *to, const struct amount *amount)
{
	for (int i = 0; i < NR_RIGHTS; i++)
		to->bytes[i] += amount->bytes[i];
}

__u64 amount_exposed(const struct amount *amount)
{
	__u64 total = 0;

	for (int i = 0; i < NR_RIGHTS; i++)
		total += is_exposed(i) ? amount->bytes[i] : 0;
	return total;
}

/* Does one come behind the other? */
static bool is_behind(const struct amount *amount, int a, int b)
{
	if (is_exposed(a) != is_exposed(b))
		return is_exposed(b);
	if (amount->bytes[a] != amount->bytes[b])
		return amount->bytes[a] < amount->bytes[b];
	return a > b;
}

int amount_next(const struct amount *amount, int rights)
{
	int next = -1;

	for (int i = 0; i < NR_RIGHTS; i++) {
		if (amount->bytes[i] &&
		    (rights < 0 || is_behind(amount, i, rights)) &&
		    (next < 0 || is_behind(amount, next, i)))
			next = i;
	}
	return next;
}

static const char *entity(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	default:
		return NULL;
	}
}

void out_escaped(const char *text)
{
	json_t *utf8 = json_string(text);

	for (; *text; text++) {
		const char *name = entity(*text);
		bool plain = *text >= ' ' && *text < 0x7f;

		/* Of what is beyond ASCII, XML has no characters U+FFFx. */
		if (name)
			out("%s", name);
		else if (plain ||
			 (utf8 && (signed char)*text < 0 &&
			  !strstr(json_string_value(utf8), "\xef\xbf")))
			out("%c", *text);
		else
			out("?");
	}
	json_decref(utf8);
}

void out_guest(const struct opts *opts)
{
	if (opts->image)
		out_escaped(opts->image);
	else
		out("process %d", (int)opts->pid);
}

/* In the child. Its input follows from a guest's tables, so it runs as nobody. */
static noreturn void run_dot(int text, int svg, int failure)
{
	int null = open("/dev/null", O_WRONLY);
	int err;

	/* dot warns of missing font folders on stderr. */
	signal(SIGPIPE, SIG_DFL);
	if (dup2(text, STDIN_FILENO) >= 0 && dup2(svg, STDOUT_FILENO) >= 0 &&
	    dup2(null, STDERR_FILENO) >= 0 &&
	    !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	    (geteuid() ||
	     (!setgroups(0, NULL) && !setresgid(NOBODY, NOBODY, NOBODY) &&
	      !setresuid(NOBODY, NOBODY, NOBODY))))
		execlp("dot", "dot", "-Tsvg", NULL);
	err = errno;
	if (write(failure, &err, sizeof(err)) < 0)
		_exit(EXIT_FAILED);
	_exit(EXIT_FAILED);
}

/* Let what is printed be the input of Graphviz. */
static pid_t start_dot(int svg)
{
	int text[2], failure[2], err;
	pid_t dot;

	if (pipe2(text, O_CLOEXEC) || pipe2(failure, O_CLOEXEC))
		die("cannot start dot: %m");
	dot = fork();
	if (dot < 0)
		die("cannot start dot: %m");
	if (!dot)
		run_dot(text[0], svg, failure[1]);
	close(failure[1]);
	if (read(failure[0], &err, sizeof(err)) == sizeof(err))
		die("cannot run dot: %s: %s, or give -o FILE.dot",
		    strerror(err),
		    err == ENOENT ? "install the package graphviz" :
				    "see its rights");
	close(failure[0]);
	close(text[0]);
	if (dup2(text[1], STDOUT_FILENO) < 0)
		die("cannot start dot: %m");
	close(text[1]);
	return dot;
}

static void end_dot(pid_t dot)
{
	int status;

	fflush(stdout);
	close(STDOUT_FILENO);
	while (waitpid(dot, &status, 0) < 0) {
		if (errno != EINTR)
			die("cannot wait for dot: %m");
		new_file_check_signals();
	}
	new_file_check_signals();
	if (status)
		die("dot failed (%s %d): give -o FILE.dot to see what it was given",
		    WIFEXITED(status) ? "status" : "signal",
		    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static bool has_suffix(const char *path, const char *suffix)
{
	size_t len = strlen(path), end = strlen(suffix);

	return len > end && !strcmp(path + len - end, suffix);
}

static void check_args(const struct opts *opts, bool several)
{
	if (opts->scope.nr_excluded && !several)
		usage("--exclude is for several spaces: give --all, or more of --cr3");
	if (!opts->output || has_suffix(opts->output, ".svg") ||
	    (several && has_suffix(opts->output, ".dot")))
		return;
	usage("-o %s: give %s", opts->output,
	      several ? "FILE.svg, or FILE.dot for Graphviz" :
			"FILE.svg: a map of one space is no graph");
}

/* Let what is printed go to the file, or to Graphviz and then to the file. */
static pid_t redirect(const struct opts *opts, struct new_file *file,
		      bool several)
{
	if (several && has_suffix(opts->output, ".svg"))
		return start_dot(new_file_fd(file));
	if (dup2(new_file_fd(file), STDOUT_FILENO) < 0)
		die("cannot write %s: %m", opts->output);
	return 0;
}

static void end_file(struct new_file *file, pid_t dot)
{
	int err;

	if (dot)
		end_dot(dot);
	err = fflush(stdout) ? errno : out_ended();
	if (err && !dot)
		new_file_fail(file, err);
	new_file_commit(file);
}

static void run(struct opts *opts, int nr_args, char **args)
{
	const bool several = opts->all || opts->source.nr_cr3s > 1;
	struct new_file *file = NULL;
	struct libvmem *vm;
	pid_t dot = 0;

	parse_range("graph", nr_args, args, &opts->scope);
	check_args(opts, several);
	if (opts->output) {
		file = new_file_open(opts->output);
		dot = redirect(opts, file, several);
	}
	vm = guest_open(opts);
	if (several)
		graph_spaces(vm, opts);
	else
		graph_map(vm, opts);
	if (file)
		end_file(file, dot);
	guest_close(vm, opts);
}

const struct command graph_command = {
	.name = "graph",
	.args = "[VA LAST_VA]",
	.summary = "a picture of what spaces share, or of one",
	.help = "Draw the spaces and the tables that they share, or a map of one space:\n"
		"where what is mapped, with which rights, in pages of which size.\n"
		"\vWith --all or more than one --cr3, spaces that use the same shared tables\n"
		"are drawn together, and so are tables that the same spaces use. -o FILE.svg\n"
		"has Graphviz (the package graphviz) lay it out; -o FILE.dot, or none, is the\n"
		"text for it, to be piped into `dot -Tsvg'. With one space it is a map, always\n"
		"as SVG. What there is no room for on a screen is folded, with its numbers.\n"
		"Hover over a part to see more of it.",
	.takes = (TAKES_SPACES & ~TAKES_JSON) | TAKES_EXCLUDE | TAKES_OUTPUT,
	.alone = true,
	.run = run,
};
