/* The short ways of `Broker.publish`, `Broker.get`, `QueueConsumer.get` and `Delivery.ack` in C, and of the wake of a
   consumer that waits and what it takes then.

   They leave the same state as the Python methods, which stand in publishing.py, consuming.py, consumer.py,
   delivery.py, line.py and vhost/handing.py and say what is done and why. Here is only what nearly every call does:
   a known route to queues without limits, a message that was read ahead, an acknowledgement that nobody waits for.
   Whatever else comes up is left to the Python method, before anything was changed.

   What makes it simple to be sure of: what can fail, or can run other Python code, comes before the first change. So
   taking a message needs no lock: nobody has the broker's, and the interpreter's own is not let go in between. Only the
   commits of `publish` and `ack` run other code; what follows on them follows as in Python.

   Imported by compiled.py. */

#include "_compiled.h"

enum {
    OFFSET = 0, /* of a stored message: offset, timestamp, metadata, body */
    BODY = 3,
    STORED_SIZE = 4,
    TAKEN_SIZE = 4 /* lane, message, redelivered, deliveries */
};

/* The classes whose objects are looked into, and the places of their slots. */

static struct {
    PyTypeObject *type;
    Py_ssize_t _append, _connection, _model, _now_ms, _routes, _system_time, _vhost;
} Handle;
static struct {
    PyTypeObject *type;
    Py_ssize_t getters;
} Connection;
static struct {
    PyTypeObject *type;
    Py_ssize_t version;
} Model;
static struct {
    PyTypeObject *type;
    Py_ssize_t lanes, limit, meta, only, pushed, streams, version;
} Route;
static struct {
    PyTypeObject *type;
    Py_ssize_t buffer, buffered, cursor, stream, trim_check;
} Lane;
static struct {
    PyTypeObject *type;
    Py_ssize_t end, waiters;
} Stream;
static struct {
    PyTypeObject *type;
    Py_ssize_t done, next, settled, unsettled;
} Cursor;
static struct {
    PyTypeObject *type;
    Py_ssize_t spans;
} Ranges;
static struct {
    PyTypeObject *type;
    Py_ssize_t append_copies, append_settle, closed, has_abandoned, journaled, lock, news, now_ms, system_time;
} Vhost;
static struct {
    PyTypeObject *type;
    Py_ssize_t active, lanes, line, simple, watchers;
} Queue;
static struct {
    PyTypeObject *type;
    Py_ssize_t front, takers;
} Line;
static struct {
    PyTypeObject *type;
    Py_ssize_t cancelled, miscounted, no_ack, prefetch, registered, unsettled, waits;
} Subscriber;
static struct {
    PyTypeObject *type;
    Py_ssize_t in_line, over, taken, wake;
} Wait;
static struct {
    PyTypeObject *type;
    Py_ssize_t subscriber, vhost;
} Taking;
static struct {
    PyTypeObject *type;
    Py_ssize_t no_ack, queue, subscriber, vhost;
} Terms;
static struct {
    PyTypeObject *type;
    Py_ssize_t _keeper, _lane, _meta, _settled, _stored, _terms, body, delivery_count, redelivered;
} Delivery;

#define FIND(class, name) find_slot(class.type, #name, &class.name)

static int find_slots(void) {
    return FIND(Handle, _append) || FIND(Handle, _connection) || FIND(Handle, _model) || FIND(Handle, _now_ms)
        || FIND(Handle, _routes) || FIND(Handle, _system_time) || FIND(Handle, _vhost) || FIND(Connection, getters)
        || FIND(Model, version) || FIND(Route, lanes) || FIND(Route, limit) || FIND(Route, meta) || FIND(Route, only)
        || FIND(Route, pushed) || FIND(Route, streams) || FIND(Route, version) || FIND(Lane, buffer)
        || FIND(Lane, buffered) || FIND(Lane, cursor) || FIND(Lane, stream) || FIND(Lane, trim_check)
        || FIND(Stream, end) || FIND(Stream, waiters) || FIND(Cursor, done) || FIND(Cursor, next)
        || FIND(Cursor, settled) || FIND(Cursor, unsettled) || FIND(Ranges, spans) || FIND(Vhost, append_copies)
        || FIND(Vhost, append_settle) || FIND(Vhost, closed) || FIND(Vhost, has_abandoned) || FIND(Vhost, journaled)
        || FIND(Vhost, lock) || FIND(Vhost, news) || FIND(Vhost, now_ms) || FIND(Vhost, system_time)
        || FIND(Queue, active) || FIND(Queue, lanes) || FIND(Queue, line) || FIND(Queue, simple)
        || FIND(Queue, watchers) || FIND(Line, front) || FIND(Line, takers) || FIND(Subscriber, cancelled)
        || FIND(Subscriber, miscounted) || FIND(Subscriber, no_ack) || FIND(Subscriber, prefetch)
        || FIND(Subscriber, registered) || FIND(Subscriber, unsettled) || FIND(Subscriber, waits) || FIND(Wait, in_line)
        || FIND(Wait, over) || FIND(Wait, taken) || FIND(Wait, wake) || FIND(Taking, subscriber) || FIND(Taking, vhost)
        || FIND(Terms, no_ack) || FIND(Terms, queue) || FIND(Terms, subscriber) || FIND(Terms, vhost)
        || FIND(Delivery, _keeper) || FIND(Delivery, _lane) || FIND(Delivery, _meta) || FIND(Delivery, _settled)
        || FIND(Delivery, _stored) || FIND(Delivery, _terms) || FIND(Delivery, body) || FIND(Delivery, delivery_count)
        || FIND(Delivery, redelivered);
}

#define AT(class, object, name) SLOT(object, class.name)
#define HOLDS(class, object, name, other) holds(object, class.name, other)

/* Whether a slot holds an object of a class or of one that was derived from it. */
static inline int is_kind_of(PyObject *value, PyTypeObject *type) {
    return value != NULL && PyObject_TypeCheck(value, type);
}

static PyTypeObject *way_type, *stored_type, *taken_type, *buffer_type, *lock_type;
static PyObject *closed_error, *zero, *nobody;
static PyObject *buffer_append, *buffer_appendleft, *buffer_popleft, *lock_acquire, *lock_locked, *lock_release;
static PyObject *text_attend, *text_look_after, *text_tidy, *text_wake_all;
static Py_ssize_t kept_messages, kept_bytes;

/* publish(self, exchange, routing_key, body) */

/* Return the route of a message, borrowed, NULL where it is not known. */
static PyObject *find_route(PyObject *handle, PyObject *exchange, PyObject *routing_key, PyObject *body) {
    if (!PyUnicode_CheckExact(exchange) || !PyUnicode_CheckExact(routing_key) || !PyBytes_CheckExact(body)
        || !HOLDS(Handle, handle, _routes, &PyDict_Type) || !HOLDS(Handle, handle, _model, Model.type)
        || AT(Handle, handle, _append) == NULL || AT(Handle, handle, _now_ms) == NULL
        || AT(Handle, handle, _vhost) == NULL)
        return NULL;
    PyObject *key = PyTuple_Pack(2, exchange, routing_key);
    if (key == NULL) return NULL;
    PyObject *route = PyDict_GetItemWithError(AT(Handle, handle, _routes), key);
    Py_DECREF(key);
    if (route == NULL || !Py_IS_TYPE(route, Route.type)
        || number_in(route, Route.version) != number_in(AT(Handle, handle, _model), Model.version)
        || PyBytes_GET_SIZE(body) > number_in(route, Route.limit) || !HOLDS(Route, route, meta, &PyBytes_Type)
        || !HOLDS(Route, route, pushed, &PyTuple_Type))
        return NULL;
    return route;
}

/* Whether a route leads to one lane, and nothing else than appending is to be done there. */
static int leads_to_one(PyObject *route) {
    return HOLDS(Route, route, only, Lane.type) && HOLDS(Lane, AT(Route, route, only), stream, Stream.type)
        && HOLDS(Lane, AT(Route, route, only), buffer, buffer_type);
}

/* Whether it leads to several, whose commit nobody has to wait for. */
static int leads_to_several(PyObject *route, PyObject *vhost) {
    if (AT(Route, route, only) != Py_None || !HOLDS(Route, route, lanes, &PyTuple_Type)
        || !HOLDS(Route, route, streams, &PyList_Type) || !Py_IS_TYPE(vhost, Vhost.type)
        || AT(Vhost, vhost, journaled) != Py_False || !HOLDS(Vhost, vhost, lock, lock_type)
        || AT(Vhost, vhost, append_copies) == NULL)
        return 0;
    PyObject *lanes = AT(Route, route, lanes);
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(lanes); place++) {
        PyObject *lane = PyTuple_GET_ITEM(lanes, place);
        if (!Py_IS_TYPE(lane, Lane.type) || !HOLDS(Lane, lane, buffer, buffer_type)) return 0;
    }
    return 1;
}

/* Keep what was just published for a consumer that has come to it, as `Lane.appended` does. */
static int keep_published(PyObject *lane, PyObject *offset, PyObject *now_ms, PyObject *meta, PyObject *body) {
    PyObject *buffer = AT(Lane, lane, buffer);
    if (!HOLDS(Lane, lane, buffer, buffer_type) || Py_SIZE(buffer) >= kept_messages
        || PyBytes_GET_SIZE(body) > kept_bytes)
        return 0;
    long long number = number_of(offset);
    if (number < 0 || number != number_in(lane, Lane.buffered)) return 0;
    Py_INCREF(buffer);
    PyObject *stored = stored_type->tp_alloc(stored_type, STORED_SIZE), *next = PyLong_FromLongLong(number + 1);
    PyObject *none = NULL;
    if (stored != NULL && next != NULL) {
        PyObject *fields[STORED_SIZE] = {offset, now_ms, meta, body};
        for (int field = 0; field < STORED_SIZE; field++) PyTuple_SET_ITEM(stored, field, Py_NewRef(fields[field]));
        PyObject *arguments[] = {buffer, stored};
        none = PyObject_Vectorcall(buffer_append, arguments, 2, NULL);
        if (none != NULL) set_slot(lane, Lane.buffered, next);
    }
    Py_DECREF(buffer);
    Py_XDECREF(stored);
    Py_XDECREF(next);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* A queue was deleted at this moment, or the store was closed: Python tells, having tried once more. */
static Outcome for_python_if_closed(void) {
    if (!PyErr_ExceptionMatches(closed_error)) return FAILED;
    PyErr_Clear();
    return FOR_PYTHON;
}

static Outcome append_to_one(PyObject *handle, PyObject *route, PyObject *meta, PyObject *body, PyObject *now_ms) {
    PyObject *lane = Py_NewRef(AT(Route, route, only)), *append = Py_NewRef(AT(Handle, handle, _append));
    PyObject *arguments[] = {AT(Lane, lane, stream), body, now_ms, meta};
    PyObject *offset = PyObject_Vectorcall(append, arguments, 4, NULL);
    Outcome outcome;
    if (offset == NULL)
        outcome = for_python_if_closed();
    else
        outcome = keep_published(lane, offset, now_ms, meta, body) < 0 ? FAILED : DONE;
    Py_DECREF(lane);
    Py_DECREF(append);
    Py_XDECREF(offset);
    return outcome;
}

/* Append the copies and keep them for their consumers. Under the broker's lock. */
static Outcome append_copies(PyObject *vhost, PyObject *route, PyObject *meta, PyObject *body, PyObject *now_ms) {
    PyObject *lanes = AT(Route, route, lanes);
    PyObject *arguments[] = {AT(Route, route, streams), body, meta, now_ms};
    PyObject *offsets = PyObject_Vectorcall(AT(Vhost, vhost, append_copies), arguments, 4, NULL);
    if (offsets == NULL) return for_python_if_closed();
    Outcome outcome = DONE;
    for (Py_ssize_t place = 0; outcome == DONE && place < PyTuple_GET_SIZE(lanes); place++)
        if (!PyList_CheckExact(offsets) || place >= PyList_GET_SIZE(offsets)) {
            PyErr_SetString(PyExc_AssertionError, "a copy without an offset");
            outcome = FAILED;
        } else if (keep_published(PyTuple_GET_ITEM(lanes, place), PyList_GET_ITEM(offsets, place), now_ms, meta, body)
                   < 0)
            outcome = FAILED;
    Py_DECREF(offsets);
    return outcome;
}

static Outcome append_to_all(PyObject *vhost, PyObject *route, PyObject *meta, PyObject *body, PyObject *now_ms) {
    PyObject *lock = Py_NewRef(AT(Vhost, vhost, lock)), *taken = PyObject_Vectorcall(lock_acquire, &lock, 1, NULL);
    Outcome outcome = FAILED;
    if (taken != NULL) {
        Py_DECREF(taken);
        outcome = append_copies(vhost, route, meta, body, now_ms);
        if (let_go(lock_release, &lock, 1) < 0) outcome = FAILED;
    }
    Py_DECREF(lock);
    return outcome;
}

/* Append a message, and look after its queues where there is anything to be looked after. */
static Outcome append_by(PyObject *handle, PyObject *route, PyObject *body) {
    PyObject *now_ms = read_clock(AT(Handle, handle, _system_time), AT(Handle, handle, _now_ms));
    if (now_ms == NULL) return FAILED;
    PyObject *meta = Py_NewRef(AT(Route, route, meta)), *vhost = Py_NewRef(AT(Handle, handle, _vhost));
    Outcome outcome = AT(Route, route, only) == Py_None ? append_to_all(vhost, route, meta, body, now_ms)
                                                        : append_to_one(handle, route, meta, body, now_ms);
    Py_DECREF(now_ms);
    Py_DECREF(meta);
    if (outcome == DONE
        && (PyTuple_GET_SIZE(AT(Route, route, pushed)) > 0
            || number_in(route, Route.version) != number_in(AT(Handle, handle, _model), Model.version))) {
        PyObject *none = PyObject_CallMethodOneArg(vhost, text_look_after, route);
        if (none == NULL) outcome = FAILED;
        Py_XDECREF(none);
    }
    Py_DECREF(vhost);
    return outcome;
}

static PyObject *publish(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    if (PyVectorcall_NARGS(flagged) != 4 || names != NULL || !PyObject_TypeCheck(args[0], Handle.type))
        return leave_to_python(way, args, flagged, names);
    PyObject *route = find_route(args[0], args[1], args[2], args[3]);
    if (route == NULL && PyErr_Occurred()) return NULL;
    if (route == NULL || !(leads_to_one(route) || leads_to_several(route, AT(Handle, args[0], _vhost))))
        return leave_to_python(way, args, flagged, names);
    /* Held: while the clock is read or a lock waited for, other code may forget the route. What is in it stays. */
    Py_INCREF(route);
    Py_ssize_t queues = AT(Route, route, only) == Py_None ? PyTuple_GET_SIZE(AT(Route, route, lanes)) : 1;
    Outcome outcome = append_by(args[0], route, args[3]);
    Py_DECREF(route);
    if (outcome == FOR_PYTHON) return leave_to_python(way, args, flagged, names);
    return outcome == DONE ? PyLong_FromSsize_t(queues) : NULL;
}

/* Taking a message, in two steps: first comes the delivery, empty, and only then is it filled. So when a signal handler
   raises as the second call returns, whoever made it has the delivery in hand, and can put it back. */

/* Return an empty delivery, None where Python has to look. */
static PyObject *empty_delivery(PyObject *terms, PyObject *keeper) {
    if (AT(Terms, terms, no_ack) != Py_False) Py_RETURN_NONE;
    Py_INCREF(terms); /* making one may collect garbage, and that runs other code */
    PyObject *delivery = Delivery.type->tp_alloc(Delivery.type, 0);
    if (delivery != NULL) {
        AT(Delivery, delivery, _keeper) = Py_NewRef(keeper);
        AT(Delivery, delivery, _terms) = Py_NewRef(terms);
    }
    Py_DECREF(terms);
    return delivery;
}

/* delivery_for_get(handle, queue, timeout, no_ack) */
static PyObject *delivery_for_get(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 4) return PyErr_Format(PyExc_TypeError, "a handle and the arguments of its `get`");
    PyObject *handle = args[0], *queue = args[1];
    if (args[3] != Py_False || number_of(args[2]) != 0 || !PyUnicode_CheckExact(queue)
        || !PyObject_TypeCheck(handle, Handle.type) || !HOLDS(Handle, handle, _connection, Connection.type))
        Py_RETURN_NONE;
    PyObject *connection = AT(Handle, handle, _connection);
    if (!HOLDS(Connection, connection, getters, &PyDict_Type)) Py_RETURN_NONE;
    PyObject *terms = PyDict_GetItemWithError(AT(Connection, connection, getters), queue);
    if (terms == NULL && PyErr_Occurred()) return NULL;
    if (terms == NULL || !Py_IS_TYPE(terms, Terms.type)) Py_RETURN_NONE;
    return empty_delivery(terms, Py_None);
}

/* delivery_for(terms, consumer) */
static PyObject *delivery_for(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 2 || !Py_IS_TYPE(args[0], Terms.type)) return PyErr_Format(PyExc_TypeError, "terms and a consumer");
    return empty_delivery(args[0], args[1]);
}

/* Whether a lock is free, -1 when that cannot be told. */
static int is_free(PyObject *lock) {
    if (lock == NULL || !Py_IS_TYPE(lock, lock_type)) return 0;
    PyObject *locked = PyObject_Vectorcall(lock_locked, &lock, 1, NULL);
    if (locked == NULL) return -1;
    Py_DECREF(locked);
    return locked == Py_False;
}

/* Whether one of a queue's consumers may have one more message; a call of `get` may while its broker is open. */
static int has_room(PyObject *subscriber, PyObject *queue) {
    if (AT(Subscriber, subscriber, cancelled) != Py_False) return 0;
    if (AT(Subscriber, subscriber, registered) == Py_False) return 1;
    long long prefetch = number_in(subscriber, Subscriber.prefetch);
    PyObject *active = AT(Queue, queue, active);
    return AT(Subscriber, subscriber, miscounted) == Py_False
        && (prefetch == 0 || number_in(subscriber, Subscriber.unsettled) < prefetch)
        && (active == Py_None || active == subscriber);
}

/* Return a queue's lane where taking the next message needs no thought, NULL elsewhere. */
static PyObject *lane_of(PyObject *queue) {
    if (!HOLDS(Queue, queue, simple, Lane.type)) return NULL;
    PyObject *lane = AT(Queue, queue, simple);
    return HOLDS(Lane, lane, cursor, Cursor.type) && HOLDS(Lane, lane, stream, Stream.type)
            && HOLDS(Lane, lane, buffer, buffer_type)
        ? lane
        : NULL;
}

/* Return that lane where nobody waits in line, NULL elsewhere. */
static PyObject *simple_lane(PyObject *terms) {
    if (!HOLDS(Terms, terms, vhost, Vhost.type) || !HOLDS(Terms, terms, queue, Queue.type)
        || !is_kind_of(AT(Terms, terms, subscriber), Subscriber.type))
        return NULL;
    PyObject *vhost = AT(Terms, terms, vhost), *queue = AT(Terms, terms, queue);
    if (AT(Vhost, vhost, closed) != Py_False || AT(Vhost, vhost, has_abandoned) != Py_False
        || !HOLDS(Queue, queue, line, Line.type) || AT(Line, AT(Queue, queue, line), front) != Py_None
        || !has_room(AT(Terms, terms, subscriber), queue))
        return NULL;
    return lane_of(queue);
}

/* Whether the message at `next` is the one to hand out: nothing was returned, and it can be seen. */
static int is_next(PyObject *cursor, PyObject *stream, long long next) {
    long long settled = number_in(cursor, Cursor.settled);
    if (next < 0 || settled < 0 || next >= number_in(stream, Stream.end) || !HOLDS(Cursor, cursor, done, Ranges.type)
        || !HOLDS(Cursor, cursor, unsettled, &PyDict_Type))
        return 0;
    if (settled == next) return 1;
    PyObject *spans = AT(Ranges, AT(Cursor, cursor, done), spans);
    if (spans == NULL || !PyTuple_CheckExact(spans) || PyTuple_GET_SIZE(spans) != 3) return 0;
    long long done = number_of(PyTuple_GET_ITEM(spans, 2));
    return done >= 0 && settled + done + PyDict_GET_SIZE(AT(Cursor, cursor, unsettled)) == next;
}

/* Take the message of an offset out of what was read ahead; NULL without an error where it is not the first there. */
static PyObject *pop_message(PyObject *buffer, long long offset) {
    while (Py_SIZE(buffer) > 0) {
        PyObject *stored = PyObject_Vectorcall(buffer_popleft, &buffer, 1, NULL);
        if (stored == NULL) return NULL;
        if (!Py_IS_TYPE(stored, stored_type)) {
            Py_DECREF(stored);
            return NULL;
        }
        long long found = number_of(PyTuple_GET_ITEM(stored, OFFSET));
        if (found == offset) return stored;
        if (found > offset) { /* out of order: that is for Python to see */
            PyObject *arguments[] = {buffer, stored};
            PyObject *none = PyObject_Vectorcall(buffer_appendleft, arguments, 2, NULL);
            Py_XDECREF(none);
        }
        Py_DECREF(stored); /* or handed out from the front before */
        if (found > offset) return NULL;
    }
    return NULL;
}

/* Note that the message at a cursor's `next` is in somebody's hand. */
static int note_taken(PyObject *cursor, PyObject *subscriber, PyObject *next, PyObject *more) {
    if (next == NULL || more == NULL
        || PyDict_SetItem(AT(Cursor, cursor, unsettled), AT(Cursor, cursor, next), subscriber) < 0)
        return -1;
    set_slot(cursor, Cursor.next, next);
    set_slot(subscriber, Subscriber.unsettled, more);
    return 0;
}

/* fill(delivery): take the next message; False where Python has to look. */
static PyObject *fill(PyObject *module, PyObject *delivery) {
    if (!Py_IS_TYPE(delivery, Delivery.type) || !HOLDS(Delivery, delivery, _terms, Terms.type)
        || AT(Delivery, delivery, _lane) != NULL)
        return PyErr_Format(PyExc_TypeError, "an empty delivery");
    PyObject *terms = AT(Delivery, delivery, _terms), *lane = simple_lane(terms);
    if (lane == NULL) Py_RETURN_FALSE;
    int free = is_free(AT(Vhost, AT(Terms, terms, vhost), lock));
    if (free <= 0) return free < 0 ? NULL : Py_NewRef(Py_False);
    PyObject *cursor = AT(Lane, lane, cursor), *subscriber = AT(Terms, terms, subscriber);
    long long offset = number_in(cursor, Cursor.next), count = number_in(subscriber, Subscriber.unsettled);
    if (count < 0 || !is_next(cursor, AT(Lane, lane, stream), offset)) Py_RETURN_FALSE;
    PyObject *stored = pop_message(AT(Lane, lane, buffer), offset);
    if (stored == NULL) return PyErr_Occurred() ? NULL : Py_NewRef(Py_False);
    PyObject *next = PyLong_FromLongLong(offset + 1), *more = PyLong_FromLongLong(count + 1);
    int noted = note_taken(cursor, subscriber, next, more);
    Py_XDECREF(next);
    Py_XDECREF(more);
    if (noted < 0) { /* what was read ahead is lost: the next call reads it again */
        Py_DECREF(stored);
        return NULL;
    }
    AT(Delivery, delivery, _lane) = Py_NewRef(lane);
    AT(Delivery, delivery, _meta) = Py_NewRef(Py_None);
    AT(Delivery, delivery, _settled) = Py_NewRef(Py_False);
    AT(Delivery, delivery, body) = Py_NewRef(PyTuple_GET_ITEM(stored, BODY));
    AT(Delivery, delivery, delivery_count) = Py_NewRef(zero);
    AT(Delivery, delivery, redelivered) = Py_NewRef(Py_False);
    AT(Delivery, delivery, _stored) = stored;
    Py_RETURN_TRUE;
}

/* _take_in_turn(self, queue, wait): under the broker's lock */

/* Whether all lanes of a queue have sets of waiters. */
static int are_watched(PyObject *lanes) {
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(lanes); place++) {
        PyObject *lane = PyList_GET_ITEM(lanes, place);
        if (!Py_IS_TYPE(lane, Lane.type) || !HOLDS(Lane, lane, stream, Stream.type)
            || !HOLDS(Stream, AT(Lane, lane, stream), waiters, &PySet_Type))
            return 0;
    }
    return 1;
}

/* Whether a call that was woken is first in line, alone there, and may take a message. */
static int has_its_turn(PyObject *taking, PyObject *queue, PyObject *wait) {
    if (!HOLDS(Taking, taking, vhost, Vhost.type) || !HOLDS(Taking, taking, subscriber, Subscriber.type)
        || !Py_IS_TYPE(queue, Queue.type) || !Py_IS_TYPE(wait, Wait.type) || !HOLDS(Queue, queue, line, Line.type)
        || !HOLDS(Queue, queue, lanes, &PyList_Type) || !are_watched(AT(Queue, queue, lanes)))
        return 0;
    PyObject *vhost = AT(Taking, taking, vhost), *subscriber = AT(Taking, taking, subscriber);
    PyObject *line = AT(Queue, queue, line), *takers = AT(Line, line, takers);
    PyObject *waits = AT(Subscriber, subscriber, waits);
    return AT(Line, line, front) == wait && takers != NULL && PyTuple_CheckExact(takers)
        && PyTuple_GET_SIZE(takers) == 1 && PyTuple_GET_ITEM(takers, 0) == wait && waits != NULL
        && PyList_CheckExact(waits) && PyList_GET_SIZE(waits) > 0 && PyList_GET_ITEM(waits, 0) == wait
        && AT(Vhost, vhost, has_abandoned) == Py_False && HOLDS(Vhost, vhost, news, &PyDict_Type)
        && AT(Subscriber, subscriber, no_ack) == Py_False && AT(Subscriber, subscriber, miscounted) != Py_True
        && has_room(subscriber, queue);
}

/* Have a queue's streams wake its line no longer. */
static int forget_line(PyObject *queue) {
    PyObject *lanes = AT(Queue, queue, lanes), *line = AT(Queue, queue, line);
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(lanes); place++) {
        PyObject *stream = AT(Lane, PyList_GET_ITEM(lanes, place), stream);
        if (PySet_Discard(AT(Stream, stream, waiters), line) < 0) return -1;
    }
    return 0;
}

/* Put the message into the hand and leave the line; `taken` is empty yet. Nothing here runs other code. */
static Outcome put_in_hand(PyObject *taking, PyObject *queue, PyObject *wait, PyObject *lane, PyObject *stored,
                           PyObject *taken) {
    PyObject *cursor = AT(Lane, lane, cursor), *subscriber = AT(Taking, taking, subscriber);
    PyObject *line = AT(Queue, queue, line);
    PyObject *next = PyLong_FromLongLong(number_in(cursor, Cursor.next) + 1);
    PyObject *more = PyLong_FromLongLong(number_in(subscriber, Subscriber.unsettled) + 1);
    int noted = note_taken(cursor, subscriber, next, more);
    Py_XDECREF(next);
    Py_XDECREF(more);
    if (noted < 0) return FAILED; /* what was read ahead is lost, and read again */
    PyObject *fields[TAKEN_SIZE] = {lane, stored, Py_False, zero};
    for (int field = 0; field < TAKEN_SIZE; field++) PyTuple_SET_ITEM(taken, field, Py_NewRef(fields[field]));
    set_slot(wait, Wait.taken, taken);
    set_slot(wait, Wait.over, Py_True);
    set_slot(wait, Wait.in_line, Py_False);
    set_slot(line, Line.takers, nobody);
    set_slot(line, Line.front, Py_None);
    if (PyList_SetSlice(AT(Subscriber, subscriber, waits), 0, 1, NULL) < 0 || forget_line(queue) < 0) return FAILED;
    return DONE;
}

static Outcome take_next(PyObject *taking, PyObject *queue, PyObject *wait, PyObject *taken) {
    PyObject *lane = has_its_turn(taking, queue, wait) ? lane_of(queue) : NULL;
    if (lane == NULL) return FOR_PYTHON;
    PyObject *cursor = AT(Lane, lane, cursor);
    long long next = number_in(cursor, Cursor.next);
    if (number_in(AT(Taking, taking, subscriber), Subscriber.unsettled) < 0
        || !is_next(cursor, AT(Lane, lane, stream), next))
        return FOR_PYTHON;
    PyObject *stored = pop_message(AT(Lane, lane, buffer), next);
    if (stored == NULL) return PyErr_Occurred() ? FAILED : FOR_PYTHON;
    Outcome outcome = put_in_hand(taking, queue, wait, lane, stored, taken);
    Py_DECREF(stored);
    return outcome;
}

static PyObject *take_in_turn(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    if (PyVectorcall_NARGS(flagged) != 3 || names != NULL || !Py_IS_TYPE(args[0], Taking.type))
        return leave_to_python(way, args, flagged, names);
    PyObject *taken = taken_type->tp_alloc(taken_type, TAKEN_SIZE);
    if (taken == NULL) return NULL;
    Outcome outcome = take_next(args[0], args[1], args[2], taken);
    Py_DECREF(taken);
    if (outcome == FOR_PYTHON) return leave_to_python(way, args, flagged, names);
    if (outcome == FAILED) return NULL;
    if (PyDict_GET_SIZE(AT(Vhost, AT(Taking, args[0], vhost), news)) == 0) Py_RETURN_TRUE;
    PyObject *none = PyObject_CallMethodNoArgs(AT(Taking, args[0], vhost), text_attend);
    if (none == NULL) return NULL;
    Py_DECREF(none);
    Py_RETURN_TRUE;
}

/* wake(self) of a line: by the wake of the call that is first */
static PyObject *wake(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    if (PyVectorcall_NARGS(flagged) != 1 || names != NULL || !Py_IS_TYPE(args[0], Line.type)
        || !HOLDS(Line, args[0], front, Wait.type) || AT(Wait, AT(Line, args[0], front), wake) == NULL)
        return leave_to_python(way, args, flagged, names);
    PyObject *call = Py_NewRef(AT(Wait, AT(Line, args[0], front), wake)), *result = PyObject_CallNoArgs(call);
    Py_DECREF(call);
    if (result == NULL) return NULL;
    Py_DECREF(result);
    Py_RETURN_NONE;
}

/* ack(self) */

/* What a delivery is about; all of it stays the same for as long as the delivery and its terms live. */
typedef struct {
    PyObject *delivery, *terms, *vhost, *queue, *subscriber, *lane, *cursor, *offset;
} InHand;

static int look_at(PyObject *delivery, InHand *hand) {
    if (!HOLDS(Delivery, delivery, _terms, Terms.type) || !HOLDS(Delivery, delivery, _lane, Lane.type)
        || !HOLDS(Delivery, delivery, _stored, stored_type))
        return 0;
    PyObject *terms = AT(Delivery, delivery, _terms), *lane = AT(Delivery, delivery, _lane);
    if (!HOLDS(Terms, terms, vhost, Vhost.type) || !HOLDS(Terms, terms, queue, Queue.type)
        || !is_kind_of(AT(Terms, terms, subscriber), Subscriber.type) || !HOLDS(Lane, lane, cursor, Cursor.type))
        return 0;
    *hand = (InHand){
        .delivery = delivery,
        .terms = terms,
        .vhost = AT(Terms, terms, vhost),
        .queue = AT(Terms, terms, queue),
        .subscriber = AT(Terms, terms, subscriber),
        .lane = lane,
        .cursor = AT(Lane, lane, cursor),
        .offset = PyTuple_GET_ITEM(AT(Delivery, delivery, _stored), OFFSET),
    };
    return HOLDS(Vhost, hand->vhost, lock, lock_type) && HOLDS(Vhost, hand->vhost, news, &PyDict_Type)
        && AT(Vhost, hand->vhost, append_settle) != NULL && AT(Vhost, hand->vhost, now_ms) != NULL
        && HOLDS(Queue, hand->queue, line, Line.type) && HOLDS(Queue, hand->queue, watchers, &PySet_Type)
        && HOLDS(Subscriber, hand->subscriber, waits, &PyList_Type)
        && HOLDS(Cursor, hand->cursor, unsettled, &PyDict_Type);
}

/* Write that it is settled, and note it. */
static Outcome settle(InHand *hand) {
    if (AT(Delivery, hand->delivery, _settled) != Py_False) return FOR_PYTHON;
    PyObject *holder = PyDict_GetItemWithError(AT(Cursor, hand->cursor, unsettled), hand->offset);
    if (holder != hand->subscriber) return PyErr_Occurred() ? FAILED : FOR_PYTHON;
    long long offset = number_of(hand->offset), count = number_in(hand->subscriber, Subscriber.unsettled);
    if (offset < 0 || count < 1) return FOR_PYTHON;
    PyObject *now_ms = read_clock(AT(Vhost, hand->vhost, system_time), AT(Vhost, hand->vhost, now_ms));
    PyObject *end = PyLong_FromLongLong(offset + 1), *fewer = PyLong_FromLongLong(count - 1), *number = NULL;
    if (now_ms != NULL && end != NULL && fewer != NULL) {
        PyObject *append_settle = Py_NewRef(AT(Vhost, hand->vhost, append_settle));
        PyObject *arguments[] = {hand->cursor, hand->offset, end, now_ms};
        number = PyObject_Vectorcall(append_settle, arguments, 4, NULL);
        Py_DECREF(append_settle);
        if (number != NULL) {
            set_slot(hand->subscriber, Subscriber.unsettled, fewer);
            set_slot(hand->delivery, Delivery._settled, Py_True);
        } else
            set_slot(hand->subscriber, Subscriber.miscounted, Py_True); /* it may have struck in between */
    }
    Py_XDECREF(now_ms);
    Py_XDECREF(end);
    Py_XDECREF(fewer);
    Py_XDECREF(number);
    return number == NULL ? FAILED : DONE;
}

/* Look after the lane and its queue, where there is anything to be looked after. */
static Outcome look_after(InHand *hand) {
    if (number_of(hand->offset) >= number_in(hand->lane, Lane.trim_check)) {
        PyObject *none = PyObject_CallMethodOneArg(hand->vhost, text_tidy, hand->lane);
        if (none == NULL) return FAILED;
        Py_DECREF(none);
    }
    PyObject *news = AT(Vhost, hand->vhost, news);
    if (PyList_GET_SIZE(AT(Subscriber, hand->subscriber, waits)) == 0 && PyDict_GET_SIZE(news) == 0
        && AT(Vhost, hand->vhost, has_abandoned) == Py_False && AT(Line, AT(Queue, hand->queue, line), front) == Py_None
        && PySet_GET_SIZE(AT(Queue, hand->queue, watchers)) == 0)
        return DONE;
    if (PyDict_SetItem(news, hand->queue, Py_None) < 0) return FAILED;
    PyObject *none = PyObject_CallMethodNoArgs(hand->vhost, text_attend);
    Py_XDECREF(none);
    return none == NULL ? FAILED : DONE;
}

/* After an error, which may have come before those in line were served: have them look, as Python does. */
static void wake_line(PyObject *queue) {
    Error error = set_aside();
    take_up(&error, PyObject_CallMethodNoArgs(AT(Queue, queue, line), text_wake_all));
}

static PyObject *ack(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    InHand hand;
    if (PyVectorcall_NARGS(flagged) != 1 || names != NULL || !PyObject_TypeCheck(args[0], Delivery.type)
        || !look_at(args[0], &hand))
        return leave_to_python(way, args, flagged, names);
    /* Held: `lose` gives a delivery other terms. */
    PyObject *terms = Py_NewRef(hand.terms), *lock = Py_NewRef(AT(Vhost, hand.vhost, lock));
    PyObject *taken = PyObject_Vectorcall(lock_acquire, &lock, 1, NULL);
    Outcome outcome = FAILED;
    if (taken != NULL) {
        Py_DECREF(taken);
        outcome = AT(Delivery, hand.delivery, _terms) == terms ? settle(&hand) : FOR_PYTHON;
        if (outcome == DONE) outcome = look_after(&hand);
        if (let_go(lock_release, &lock, 1) < 0) outcome = FAILED;
    }
    if (outcome == FAILED) wake_line(hand.queue);
    Py_DECREF(lock);
    Py_DECREF(terms);
    if (outcome == FOR_PYTHON) return leave_to_python(way, args, flagged, names);
    return outcome == DONE ? Py_NewRef(Py_None) : NULL;
}

/* The module */

/* set_up(classes, buffer's class, lock's class, ClosedError, messages and bytes that are kept) */
static PyObject *set_up(PyObject *module, PyObject *args) {
    PyTypeObject **places[] = {&Handle.type, &Connection.type, &Model.type,  &Route.type,    &Lane.type,
                               &Stream.type, &Cursor.type,     &Ranges.type, &Vhost.type,    &Queue.type,
                               &Line.type,   &Subscriber.type, &Terms.type,  &Delivery.type, &Wait.type,
                               &Taking.type, &stored_type,     &taken_type,  &buffer_type,   &lock_type};
    PyObject *classes, *closed;
    if (!PyArg_ParseTuple(args, "O!Onn", &PyTuple_Type, &classes, &closed, &kept_messages, &kept_bytes)) return NULL;
    if (take_classes(classes, places, sizeof places / sizeof *places) != 0) return NULL;
    Py_XSETREF(closed_error, Py_NewRef(closed));
    Py_XSETREF(buffer_append, PyObject_GetAttrString((PyObject *)buffer_type, "append"));
    Py_XSETREF(buffer_appendleft, PyObject_GetAttrString((PyObject *)buffer_type, "appendleft"));
    Py_XSETREF(buffer_popleft, PyObject_GetAttrString((PyObject *)buffer_type, "popleft"));
    Py_XSETREF(lock_acquire, PyObject_GetAttrString((PyObject *)lock_type, "acquire"));
    Py_XSETREF(lock_locked, PyObject_GetAttrString((PyObject *)lock_type, "locked"));
    Py_XSETREF(lock_release, PyObject_GetAttrString((PyObject *)lock_type, "release"));
    if (!buffer_append || !buffer_appendleft || !buffer_popleft || !lock_acquire || !lock_locked || !lock_release
        || find_slots() != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *before_publish(PyObject *module, PyObject *method) {
    return make_way(way_type, publish, method);
}

static PyObject *before_ack(PyObject *module, PyObject *method) {
    return make_way(way_type, ack, method);
}

static PyObject *before_take_in_turn(PyObject *module, PyObject *method) {
    return make_way(way_type, take_in_turn, method);
}

static PyObject *before_wake(PyObject *module, PyObject *method) {
    return make_way(way_type, wake, method);
}

static PyMethodDef functions[] = {
    {"set_up", set_up, METH_VARARGS, NULL},
    {"before_publish", before_publish, METH_O, NULL},
    {"before_ack", before_ack, METH_O, NULL},
    {"before_take_in_turn", before_take_in_turn, METH_O, NULL},
    {"before_wake", before_wake, METH_O, NULL},
    {"delivery_for_get", (PyCFunction)(void (*)(void))delivery_for_get, METH_FASTCALL, NULL},
    {"delivery_for", (PyCFunction)(void (*)(void))delivery_for, METH_FASTCALL, NULL},
    {"fill", fill, METH_O, NULL},
    {NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit__compiled(void) {
    text_attend = PyUnicode_InternFromString("attend");
    text_look_after = PyUnicode_InternFromString("look_after");
    text_tidy = PyUnicode_InternFromString("tidy");
    text_wake_all = PyUnicode_InternFromString("wake_all");
    zero = PyLong_FromLong(0);
    nobody = PyTuple_New(0);
    way_type = (PyTypeObject *)PyType_FromSpec(&way_spec);
    PyObject *made = PyModule_Create(&module);
    if (!text_attend || !text_look_after || !text_tidy || !text_wake_all || !zero || !nobody || !way_type || !made
        || PyModule_AddIntConstant(made, "SOURCE_CRC", SOURCE_CRC) < 0)
        Py_CLEAR(made);
    return made;
}
