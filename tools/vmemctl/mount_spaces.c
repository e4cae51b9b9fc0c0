// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which address spaces a mounted guest has
 *
 * Looking takes a second for each GiB or more, so that one thread does it for all who
 * want to know, and those who are killed meanwhile wait no longer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mount.h"

/* Seconds that a listing stays valid */
#define FRESH_SECONDS 5

static size_t size_of(size_t nr)
{
	return sizeof(struct listing) + nr * sizeof(__u64);
}

static void answer(fuse_req_t req, struct fuse_file_info fi,
		   const struct listing *listing)
{
	struct listing *copy = malloc(size_of(listing->nr));

	if (!copy) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	memcpy(copy, listing, size_of(listing->nr));
	fi.fh = (uintptr_t)copy;
	if (fuse_reply_open(req, &fi))
		free(copy);
}

static bool is_listed(const struct libvmem_root_found *root)
{
	return root->kind == LIBVMEM_ROOT_VCPU ||
	       root->kind == LIBVMEM_ROOT_USER || root->vcpu_seen;
}

static struct listing *list(const struct libvmem_search *search)
{
	struct listing *listing = malloc(size_of(search->nr));

	if (!listing)
		return NULL;
	listing->nr = 0;
	for (size_t i = 0; i < search->nr; i++)
		if (is_listed(&search->roots[i]))
			listing->roots[listing->nr++] = search->roots[i].root;
	return listing;
}

/* The last waiter was interrupted. */
static int is_vain(__u64 done, __u64 all, void *priv)
{
	struct spaces *spaces = priv;
	bool vain;

	(void)done;
	(void)all;
	pthread_mutex_lock(&spaces->waiters.lock);
	vain = !spaces->waiters.first;
	pthread_mutex_unlock(&spaces->waiters.lock);
	return vain;
}

/* A listing, or a negative errno; of a guest that tells no registers it is empty. */
static int look(struct spaces *spaces, struct listing **listing)
{
	struct libvmem_search search = {
		.source = spaces->source,
		.step = is_vain,
		.priv = spaces,
	};
	struct libvmem_error error;
	int ret = libvmem_search_roots(spaces->vm, &search, &error);

	*listing = !ret || ret == -LIBVMEM_NO_REGISTERS ? list(&search) : NULL;
	free(search.roots);
	if (*listing)
		return 0;
	if (ret > 0)
		return -EINTR;
	return ret ? mount_errno(&error) : -ENOMEM;
}

/* Called with the lock, which is dropped meanwhile. */
static int refresh(struct spaces *spaces)
{
	struct listing *listing;
	int ret;

	if (spaces->listing && mount_now() - spaces->found < FRESH_SECONDS)
		return 0;
	pthread_mutex_unlock(&spaces->waiters.lock);
	ret = look(spaces, &listing);
	pthread_mutex_lock(&spaces->waiters.lock);
	if (ret)
		return ret;
	free(spaces->listing);
	spaces->listing = listing;
	spaces->found = mount_now();
	return 0;
}

static void answer_all(struct spaces *spaces, int ret)
{
	struct waiter *waiter;

	while ((waiter = spaces->waiters.first)) {
		spaces->waiters.first = waiter->next;
		if (ret)
			fuse_reply_err(waiter->req, -ret);
		else
			answer(waiter->req, waiter->fi, spaces->listing);
		free(waiter);
	}
}

void *spaces_serve(void *arg)
{
	struct spaces *spaces = arg;
	int ret;

	pthread_mutex_lock(&spaces->waiters.lock);
	for (;;) {
		waiters_next(&spaces->waiters);
		ret = refresh(spaces);
		/* After a failed search, later readers need another one. */
		if (ret != -EINTR)
			answer_all(spaces, ret);
	}
	return NULL;
}
