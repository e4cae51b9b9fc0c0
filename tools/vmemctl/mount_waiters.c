// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests that take long
 *
 * A worker that waited for an answer could not hear that the reader was killed. So it leaves
 * the request to the thread that makes the answer, and hears on.
 */
#include <errno.h>
#include <stdlib.h>

#include "mount.h"

static void put_last(struct waiters *waiters, struct waiter *waiter)
{
	struct waiter **at = &waiters->first;

	while (*at)
		at = &(*at)->next;
	*at = waiter;
	waiter->next = NULL;
}

/* NULL if it was answered */
static struct waiter *take(struct waiters *waiters, fuse_req_t req)
{
	struct waiter **at = &waiters->first, *waiter;

	while (*at && (*at)->req != req)
		at = &(*at)->next;
	waiter = *at;
	if (waiter)
		*at = waiter->next;
	return waiter;
}

static void give_up(fuse_req_t req, void *priv)
{
	struct waiters *waiters = priv;
	struct waiter *waiter;

	pthread_mutex_lock(&waiters->lock);
	waiter = take(waiters, req);
	pthread_mutex_unlock(&waiters->lock);
	if (waiter)
		fuse_reply_err(req, EINTR);
	free(waiter);
}

void waiters_add(struct waiters *waiters, fuse_req_t req,
		 const struct fuse_file_info *fi, size_t size)
{
	struct waiter *waiter = malloc(sizeof(*waiter));
	bool interrupted;

	if (!waiter) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*waiter = (struct waiter){ .req = req, .fi = *fi, .size = size };
	fuse_req_interrupt_func(req, give_up, waiters);
	pthread_mutex_lock(&waiters->lock);
	/* It may have come before there was anything to take out of the list. */
	interrupted = fuse_req_interrupted(req);
	if (!interrupted)
		put_last(waiters, waiter);
	pthread_cond_signal(&waiters->wanted);
	pthread_mutex_unlock(&waiters->lock);
	if (!interrupted)
		return;
	fuse_reply_err(req, EINTR);
	free(waiter);
}

struct waiter *waiters_next(struct waiters *waiters)
{
	struct waiter *waiter;

	while (!waiters->first)
		pthread_cond_wait(&waiters->wanted, &waiters->lock);
	waiter = waiters->first;
	waiters->first = waiter->next;
	put_last(waiters, waiter);
	return waiter;
}
