/* A plan or a port from another thread in, those that were replaced or lost back out: lock-free.
 *
 * Another thread puts something in and rings the loop's mailbox; the loop takes it out when it wakes. Those of one line
 * are filled from one thread at a time.
 */
#ifndef FT_SLOTS_H
#define FT_SLOTS_H

#include "busplan.h"

#include <stdatomic.h>

#define FT_NO_PORT (-1)

/* So long a loop that is stopped waits for answers that are under way: thrown away, they would be neither read nor missing,
 * and writes in doubt. The longest answer takes 290 ms at 9600 baud; SIGTERM leaves 5 s, of which the broker may need 3. */
#define FT_FINISH_NS INT64_C(500000000)

typedef struct ft_slots {
    _Atomic int offered_fd;           /* a port for the loop, or FT_NO_PORT */
    _Atomic int returned_fd;          /* a port that is lost, for its owner to close, or FT_NO_PORT */
    _Atomic int lost_errno;           /* why; 0: end of file */
    _Atomic int failed;               /* set: there is no port, tell it in the samples */
    _Atomic(ft_plan *) offered_plan;
    _Atomic(ft_plan *) retired_plans; /* linked, to be freed by their owner */
} ft_slots;

static inline void ft_slots_init(ft_slots *slots)
{
    atomic_init(&slots->offered_fd, FT_NO_PORT);
    atomic_init(&slots->returned_fd, FT_NO_PORT);
    atomic_init(&slots->lost_errno, 0);
    atomic_init(&slots->failed, 0);
    atomic_init(&slots->offered_plan, NULL);
    atomic_init(&slots->retired_plans, NULL);
}

/* The loop's side: these plans (NULL: none) were replaced. They go before those that their owner has not taken yet. */
static inline void ft_slots_retire(ft_slots *slots, ft_plan *plans)
{
    ft_plan *last = plans;
    if (!plans)
        return;
    while (last->next)
        last = last->next;
    last->next = atomic_exchange(&slots->retired_plans, NULL);
    atomic_store(&slots->retired_plans, plans);
}

/* The owner's side. Takes the plan over; frees those that were replaced before. */
static inline void ft_slots_offer_plan(ft_slots *slots, ft_plan *plan)
{
    ft_plan_free(atomic_exchange(&slots->retired_plans, NULL));
    ft_plan_free(atomic_exchange(&slots->offered_plan, plan));
}

/* The loop's side: the port is the owner's again. */
static inline void ft_slots_return(ft_slots *slots, int fd, int why)
{
    atomic_store(&slots->lost_errno, why);
    atomic_store(&slots->returned_fd, fd);
}

/* The owner's side: a port to be closed and why it was lost, or FT_NO_PORT. */
static inline int ft_slots_take_lost(ft_slots *slots, int *why)
{
    int fd = atomic_exchange(&slots->returned_fd, FT_NO_PORT);
    *why = atomic_load(&slots->lost_errno); /* after the port: before it, it would be why the last one was lost */
    return fd;
}

/* Once no other thread uses them. */
static inline void ft_slots_free(ft_slots *slots)
{
    ft_plan_free(atomic_load(&slots->offered_plan));
    ft_plan_free(atomic_load(&slots->retired_plans));
}

#endif
