/* The short ways of `Log.append`, with or without waiting for its sync, and of a consumer that was woken in C.

   They leave the same state as the Python methods, which stand in appending.py, fetcher.py, positions.py,
   group_member.py and storage/reader.py and say what is done and why. Here is only what nearly every call does: a
   plain record for a topic with one partition, and the one record that ended a wait. Whatever else comes up is left
   to the Python method, before anything was changed.

   What makes it simple to be sure of: memory is taken first, for that may collect garbage and so run other code; then
   everything is looked at, and changed without a pause. A record that was taken is noted where `poll` takes it back
   from when a signal handler raises as the call returns.

   Imported by compiled.py. */

#include "_compiled.h"

enum {
    L_OFFSET, /* of `Stream.latest` */
    L_TIMESTAMP,
    L_KEY,
    L_VALUE,
    LATEST_SIZE = 6
};
enum { RECORD_SIZE = 7, METADATA_SIZE = 5 };

/* The classes whose objects are looked into, and the places of their slots. */

static struct {
    PyTypeObject *type;
    Py_ssize_t _append, _append_unwaited, _now_ms, _system_time, _topics;
} Handle;
static struct {
    PyTypeObject *type;
    Py_ssize_t deleted, keyed_limit, only, plain_limit;
} Topic;
static struct {
    PyTypeObject *type;
    Py_ssize_t end, latest, start, waiters;
} Stream;
static struct {
    PyTypeObject *type;
    Py_ssize_t stored_position;
} Segment;
static struct {
    PyTypeObject *type;
    Py_ssize_t _position, _segment, _stream, offset;
} Reader;
static struct {
    PyTypeObject *type;
    Py_ssize_t _ring, _run, _taken;
} Fetcher;
static struct {
    PyTypeObject *type;
    Py_ssize_t _first, _frame, _next_read, _position, _reader, _size, _stop, _uncounted, left, partition, paused,
        stream;
} Cursor;
static struct {
    PyTypeObject *type;
    Py_ssize_t _now_ms, seat;
} Member;
static struct {
    PyTypeObject *type;
    Py_ssize_t member;
} Seat;
static struct {
    PyTypeObject *type;
    Py_ssize_t heartbeat_ms, poll_ms;
} Membership;

#define FIND(class, name) find_slot(class.type, #name, &class.name)

static int find_slots(void) {
    return FIND(Handle, _append) || FIND(Handle, _append_unwaited) || FIND(Handle, _now_ms)
        || FIND(Handle, _system_time) || FIND(Handle, _topics) || FIND(Topic, deleted) || FIND(Topic, keyed_limit)
        || FIND(Topic, only) || FIND(Topic, plain_limit) || FIND(Stream, end) || FIND(Stream, latest)
        || FIND(Stream, start) || FIND(Stream, waiters) || FIND(Segment, stored_position) || FIND(Reader, _position)
        || FIND(Reader, _segment) || FIND(Reader, _stream) || FIND(Reader, offset) || FIND(Fetcher, _ring)
        || FIND(Fetcher, _run) || FIND(Fetcher, _taken) || FIND(Cursor, _first) || FIND(Cursor, _frame)
        || FIND(Cursor, _next_read) || FIND(Cursor, _position) || FIND(Cursor, _reader) || FIND(Cursor, _size)
        || FIND(Cursor, _stop) || FIND(Cursor, _uncounted) || FIND(Cursor, left) || FIND(Cursor, partition)
        || FIND(Cursor, paused) || FIND(Cursor, stream) || FIND(Member, _now_ms) || FIND(Member, seat)
        || FIND(Seat, member) || FIND(Membership, heartbeat_ms) || FIND(Membership, poll_ms);
}

#define AT(class, object, name) SLOT(object, class.name)
#define HOLDS(class, object, name, other) holds(object, class.name, other)

static PyTypeObject *way_type, *record_type, *metadata_type, *partition_type, *ring_type, *counter_type, *left_type;
static PyObject *closed_error, *deleted_meanwhile, *system_monotonic_ms, *monotonic_ns, *length_hint;
static PyObject *zero, *one, *nothing, *none_counted, *none_left, *text_key;
static long long header_size, key_size;

/* append(self, topic, value, *, key=None), append_plain(self, topic, value, key) */

/* Return the topic's object, borrowed, if a record takes the short way to its only partition, NULL elsewhere. */
static PyObject *find_topic(PyObject *handle, PyObject *name, PyObject *value, PyObject *key) {
    if (!PyUnicode_CheckExact(name) || !PyBytes_CheckExact(value) || !HOLDS(Handle, handle, _topics, &PyDict_Type)
        || AT(Handle, handle, _now_ms) == NULL)
        return NULL;
    PyObject *topic = PyDict_GetItemWithError(AT(Handle, handle, _topics), name);
    if (topic == NULL || !Py_IS_TYPE(topic, Topic.type) || !HOLDS(Topic, topic, only, Stream.type)) return NULL;
    if (key == Py_None) return PyBytes_GET_SIZE(value) <= number_in(topic, Topic.plain_limit) ? topic : NULL;
    if (!PyBytes_CheckExact(key)) return NULL;
    return PyBytes_GET_SIZE(value) + PyBytes_GET_SIZE(key) <= number_in(topic, Topic.keyed_limit) ? topic : NULL;
}

/* After a failed append: of a topic that was deleted before the store lock was taken its own error tells. */
static void tell_deleted(PyObject *topic) {
    if (!PyErr_ExceptionMatches(closed_error) || AT(Topic, topic, deleted) != Py_True) return;
    PyErr_Clear();
    PyObject *error = PyObject_CallOneArg(deleted_meanwhile, topic);
    if (error != NULL) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
}

/* Append a record to a topic that is held, by the engine's `append` that is given. */
static PyObject *append_to(PyObject *handle, PyObject *append, PyObject *topic, PyObject *name, PyObject *value,
                           PyObject *key) {
    PyObject *stream = Py_NewRef(AT(Topic, topic, only));
    PyObject *now_ms = read_clock(AT(Handle, handle, _system_time), AT(Handle, handle, _now_ms));
    PyObject *arguments[] = {stream, value, now_ms, key}, *metadata = NULL;
    PyObject *offset = now_ms == NULL ? NULL : PyObject_Vectorcall(append, arguments, 4, NULL);
    if (offset != NULL) {
        PyObject *fields[METADATA_SIZE] = {name, zero, offset, now_ms, Py_False};
        metadata = new_tuple(metadata_type, METADATA_SIZE, fields);
    } else
        tell_deleted(topic);
    Py_DECREF(stream);
    Py_XDECREF(now_ms);
    Py_XDECREF(offset);
    return metadata;
}

/* Append a record, if it takes the short way, by the engine's `append` in the slot; returns NULL without an error
   elsewhere. */
static PyObject *append_by(Py_ssize_t place, PyObject *handle, PyObject *name, PyObject *value, PyObject *key) {
    PyObject *topic = PyObject_TypeCheck(handle, Handle.type) ? find_topic(handle, name, value, key) : NULL;
    if (topic == NULL || SLOT(handle, place) == NULL) return NULL;
    PyObject *append = Py_NewRef(SLOT(handle, place));
    Py_INCREF(topic);
    PyObject *metadata = append_to(handle, append, topic, name, value, key);
    Py_DECREF(topic);
    Py_DECREF(append);
    return metadata;
}

static PyObject *append(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    PyObject *key = Py_None;
    if (names != NULL && PyTuple_GET_SIZE(names) == 1 && PyTuple_GET_ITEM(names, 0) == text_key
        && PyVectorcall_NARGS(flagged) == 3)
        key = args[3];
    else if (names != NULL || PyVectorcall_NARGS(flagged) != 3)
        return leave_to_python(way, args, flagged, names);
    PyObject *metadata = append_by(Handle._append, args[0], args[1], args[2], key);
    return metadata != NULL || PyErr_Occurred() ? metadata : leave_to_python(way, args, flagged, names);
}

static PyObject *append_plain(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    if (names != NULL || PyVectorcall_NARGS(flagged) != 4) return leave_to_python(way, args, flagged, names);
    PyObject *metadata = append_by(Handle._append_unwaited, args[0], args[1], args[2], args[3]);
    return metadata != NULL || PyErr_Occurred() ? metadata : leave_to_python(way, args, flagged, names);
}

/* The record that ended a wait */

/* What is looked at; all of it borrowed. */
typedef struct {
    PyObject *cursor, *stream, *reader, *latest, *offset;
    long long next, position; /* the offset and the reader's position behind the record */
} Sight;

/* Return the only cursor of a fetcher, borrowed, NULL where there are several. */
static PyObject *only_cursor(PyObject *fetcher) {
    if (!HOLDS(Fetcher, fetcher, _ring, ring_type) || Py_SIZE(AT(Fetcher, fetcher, _ring)) != 1) return NULL;
    PyObject *cursor = PySequence_GetItem(AT(Fetcher, fetcher, _ring), 0);
    Py_XDECREF(cursor);
    return cursor != NULL && Py_IS_TYPE(cursor, Cursor.type) ? cursor : NULL;
}

/* Whether the reader stands at the last record, and that is the last one of all: what `Reader.passes` asks. */
static int stands_before(Sight *sight) {
    PyObject *reader = sight->reader, *key = PyTuple_GET_ITEM(sight->latest, L_KEY);
    PyObject *value = PyTuple_GET_ITEM(sight->latest, L_VALUE);
    if (!HOLDS(Reader, reader, _segment, Segment.type) || !PyBytes_CheckExact(value)
        || (key != Py_None && !PyBytes_CheckExact(key)) || AT(Reader, reader, _stream) != sight->stream
        || number_in(reader, Reader.offset) != sight->next - 1 || sight->next != number_in(sight->stream, Stream.end))
        return 0;
    long long position = number_in(reader, Reader._position);
    sight->position = position + header_size + PyBytes_GET_SIZE(value);
    if (key != Py_None) sight->position += key_size + PyBytes_GET_SIZE(key);
    return position >= 0 && sight->position == number_in(AT(Reader, reader, _segment), Segment.stored_position);
}

/* Return how often a counter counts, -1 when that cannot be told. By the method itself: binding would take memory. */
static long long count_left(PyObject *counter) {
    PyObject *count = PyObject_Vectorcall(length_hint, &counter, 1, NULL);
    long long number = number_of(count);
    Py_XDECREF(count);
    return number;
}

/* Whether the last record is the next one of the cursor and there is no other: what `hold_latest` asks. No other code
   runs meanwhile. */
static int sees_latest(PyObject *cursor, Sight *sight) {
    if (cursor == NULL || !HOLDS(Cursor, cursor, stream, Stream.type) || !HOLDS(Cursor, cursor, _reader, Reader.type)
        || AT(Cursor, cursor, paused) != Py_False || number_in(cursor, Cursor._position) < 0
        || !HOLDS(Cursor, cursor, _uncounted, counter_type) || !HOLDS(Cursor, cursor, partition, partition_type)
        || PyTuple_GET_SIZE(AT(Cursor, cursor, partition)) != 2 || count_left(AT(Cursor, cursor, _uncounted)) != 0)
        return 0;
    PyObject *stream = AT(Cursor, cursor, stream), *latest = AT(Stream, stream, latest);
    if (latest == NULL || !PyTuple_CheckExact(latest) || PyTuple_GET_SIZE(latest) != LATEST_SIZE) return 0;
    PyObject *offset = PyTuple_GET_ITEM(latest, L_OFFSET);
    long long number = number_of(offset);
    *sight = (Sight){cursor, stream, AT(Cursor, cursor, _reader), latest, offset, number + 1, 0};
    return number >= 0 && number == number_in(cursor, Cursor._next_read) && number >= number_in(stream, Stream.start)
        && stands_before(sight);
}

/* All that must be made. */
typedef struct {
    PyObject *record, *list, *uncounted, *left, *next, *position;
} Made;

static void clear_made(Made *made) {
    Py_XDECREF(made->record);
    Py_XDECREF(made->list);
    Py_XDECREF(made->uncounted);
    Py_XDECREF(made->left);
    Py_XDECREF(made->next);
    Py_XDECREF(made->position);
}

static PyObject *pair_call(PyTypeObject *type, PyObject *first, PyObject *second) {
    PyObject *arguments[] = {first, second};
    return PyObject_Vectorcall((PyObject *)type, arguments, 2, NULL);
}

/* Make what gives the record and counts it. */
static int make_run(Made *made) {
    PyObject *alone = PyTuple_Pack(1, made->record);
    if (alone == NULL) return -1;
    PyObject_GC_UnTrack(alone);
    made->uncounted = pair_call(counter_type, one, one);
    if (made->uncounted != NULL) made->left = pair_call(left_type, alone, made->uncounted);
    Py_DECREF(alone);
    return made->left == NULL ? -1 : 0;
}

/* Make a list with the record, and what gives and counts no more. */
static int make_list(Made *made) {
    made->uncounted = Py_NewRef(none_counted);
    made->left = Py_NewRef(none_left);
    made->list = PyList_New(1);
    return made->list == NULL ? -1 : 0;
}

/* Make all that is needed; return whether what was in sight still is, for this may run other code. */
static int make(PyObject *fetcher, Sight *sight, Made *made, int (*make_more)(Made *)) {
    long long next = sight->next, position = sight->position;
    if ((made->next = PyLong_FromLongLong(next)) == NULL || (made->position = PyLong_FromLongLong(position)) == NULL
        || (made->record = record_type->tp_alloc(record_type, RECORD_SIZE)) == NULL)
        return -1;
    PyObject_GC_UnTrack(made->record); /* nobody sees it empty */
    if (make_more(made) < 0) return -1;
    return sees_latest(only_cursor(fetcher), sight) && sight->next == next && sight->position == position;
}

static void fill_record(PyObject *record, Sight *sight) {
    PyObject *partition = AT(Cursor, sight->cursor, partition), *latest = sight->latest;
    PyObject *fields[RECORD_SIZE] = {
        PyTuple_GET_ITEM(partition, 0),
        PyTuple_GET_ITEM(partition, 1),
        sight->offset,
        PyTuple_GET_ITEM(latest, L_TIMESTAMP),
        PyTuple_GET_ITEM(latest, L_KEY),
        PyTuple_GET_ITEM(latest, L_VALUE),
        nothing,
    };
    for (int field = 0; field < RECORD_SIZE; field++) PyTuple_SET_ITEM(record, field, Py_NewRef(fields[field]));
    PyObject_GC_Track(record);
}

/* Put something into a slot and what stood there into `given_up`. */
static void swap_slot(PyObject *object, Py_ssize_t place, PyObject *value, PyObject **given_up) {
    *given_up = SLOT(object, place);
    SLOT(object, place) = Py_NewRef(value);
}

/* Have the record in hand. Stores alone, and only then is given up what stood there. */
static void hold(PyObject *fetcher, PyObject *run, Sight *sight, Made *made) {
    PyObject *cursor = sight->cursor, *reader = sight->reader, *given_up[11];
    fill_record(made->record, sight);
    swap_slot(reader, Reader._position, made->position, &given_up[0]);
    swap_slot(reader, Reader.offset, made->next, &given_up[1]);
    swap_slot(cursor, Cursor._frame, Py_None, &given_up[2]);
    swap_slot(cursor, Cursor._first, zero, &given_up[3]);
    swap_slot(cursor, Cursor._size, one, &given_up[4]);
    swap_slot(cursor, Cursor._stop, made->next, &given_up[5]);
    swap_slot(cursor, Cursor._next_read, made->next, &given_up[6]);
    swap_slot(cursor, Cursor._uncounted, made->uncounted, &given_up[7]);
    swap_slot(cursor, Cursor._position, sight->offset, &given_up[8]);
    swap_slot(cursor, Cursor.left, made->left, &given_up[9]);
    swap_slot(fetcher, Fetcher._run, run, &given_up[10]);
    for (int place = 0; place < 11; place++) Py_XDECREF(given_up[place]);
}

/* take_latest(self) */
static PyObject *take_latest(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    Sight sight;
    Made made = {0};
    if (PyVectorcall_NARGS(flagged) != 1 || names != NULL || !Py_IS_TYPE(args[0], Fetcher.type)
        || !HOLDS(Fetcher, args[0], _taken, &PyDict_Type) || !sees_latest(only_cursor(args[0]), &sight))
        return PyErr_Occurred() ? NULL : leave_to_python(way, args, flagged, names);
    int seen = make(args[0], &sight, &made, make_list);
    if (seen > 0 && PyDict_SetItem(AT(Fetcher, args[0], _taken), sight.cursor, sight.offset) < 0) seen = -1;
    if (seen <= 0) {
        clear_made(&made);
        return PyErr_Occurred() ? NULL : leave_to_python(way, args, flagged, names);
    }
    PyObject *list = Py_NewRef(made.list);
    PyList_SET_ITEM(list, 0, Py_NewRef(made.record));
    hold(args[0], Py_None, &sight, &made);
    clear_made(&made);
    return list;
}

/* run_latest(self) */
static PyObject *run_latest(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    Sight sight;
    Made made = {0};
    if (PyVectorcall_NARGS(flagged) != 1 || names != NULL || !Py_IS_TYPE(args[0], Fetcher.type)
        || !sees_latest(only_cursor(args[0]), &sight))
        return PyErr_Occurred() ? NULL : leave_to_python(way, args, flagged, names);
    if (make(args[0], &sight, &made, make_run) <= 0) {
        clear_made(&made);
        return PyErr_Occurred() ? NULL : leave_to_python(way, args, flagged, names);
    }
    PyObject *left = Py_NewRef(made.left);
    hold(args[0], sight.cursor, &sight, &made);
    clear_made(&made);
    return left;
}

/* unwatch(self, waiter) */
static PyObject *unwatch(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    PyObject *cursor = NULL;
    if (PyVectorcall_NARGS(flagged) == 2 && names == NULL && Py_IS_TYPE(args[0], Fetcher.type))
        cursor = only_cursor(args[0]);
    if (cursor == NULL || !HOLDS(Cursor, cursor, stream, Stream.type)
        || !HOLDS(Stream, AT(Cursor, cursor, stream), waiters, &PySet_Type))
        return PyErr_Occurred() ? NULL : leave_to_python(way, args, flagged, names);
    if (PySet_Discard(AT(Stream, AT(Cursor, cursor, stream), waiters), args[1]) < 0) return NULL;
    Py_RETURN_NONE;
}

/* note_poll(self) */
static PyObject *note_poll(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    if (PyVectorcall_NARGS(flagged) != 1 || names != NULL || !Py_IS_TYPE(args[0], Member.type)
        || !HOLDS(Member, args[0], seat, Seat.type) || AT(Member, args[0], _now_ms) != system_monotonic_ms)
        return leave_to_python(way, args, flagged, names);
    PyObject *nanoseconds = PyObject_CallNoArgs(monotonic_ns);
    long long now = number_of(nanoseconds);
    Py_XDECREF(nanoseconds);
    PyObject *now_ms = now < 0 ? NULL : PyLong_FromLongLong(now / 1000000);
    if (now_ms != NULL && HOLDS(Seat, AT(Member, args[0], seat), member, Membership.type)) {
        PyObject *member = AT(Seat, AT(Member, args[0], seat), member);
        set_slot(member, Membership.poll_ms, now_ms);
        set_slot(member, Membership.heartbeat_ms, now_ms);
        Py_DECREF(now_ms);
        Py_RETURN_TRUE;
    }
    Py_XDECREF(now_ms);
    return PyErr_Occurred() ? NULL : leave_to_python(way, args, flagged, names);
}

/* The module */

/* set_up(classes, ClosedError, deleted_meanwhile, SystemClock.monotonic_ms, time.monotonic_ns, bytes of a frame's
   header and of a key's) */
static PyObject *set_up(PyObject *module, PyObject *args) {
    PyTypeObject **places[] = {&Handle.type,    &Topic.type,      &Stream.type,  &Segment.type,
                               &Reader.type,    &Fetcher.type,    &Cursor.type,  &Member.type,
                               &Seat.type,      &Membership.type, &record_type,  &metadata_type,
                               &partition_type, &ring_type,       &counter_type, &left_type};
    PyObject *classes, *closed, *deleted, *own_clock, *clock;
    if (!PyArg_ParseTuple(args, "O!OOOOLL", &PyTuple_Type, &classes, &closed, &deleted, &own_clock, &clock,
                          &header_size, &key_size))
        return NULL;
    if (take_classes(classes, places, sizeof places / sizeof *places) != 0) return NULL;
    Py_XSETREF(closed_error, Py_NewRef(closed));
    Py_XSETREF(deleted_meanwhile, Py_NewRef(deleted));
    Py_XSETREF(system_monotonic_ms, Py_NewRef(own_clock));
    Py_XSETREF(monotonic_ns, Py_NewRef(clock));
    Py_XSETREF(none_counted, pair_call(counter_type, one, zero));
    Py_XSETREF(none_left, PyObject_GetIter(nothing));
    Py_XSETREF(length_hint, PyObject_GetAttrString((PyObject *)counter_type, "__length_hint__"));
    if (length_hint == NULL || none_counted == NULL || none_left == NULL || find_slots() != 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *before_append(PyObject *module, PyObject *method) {
    return make_way(way_type, append, method);
}

static PyObject *before_append_plain(PyObject *module, PyObject *method) {
    return make_way(way_type, append_plain, method);
}

static PyObject *before_take_latest(PyObject *module, PyObject *method) {
    return make_way(way_type, take_latest, method);
}

static PyObject *before_run_latest(PyObject *module, PyObject *method) {
    return make_way(way_type, run_latest, method);
}

static PyObject *before_unwatch(PyObject *module, PyObject *method) {
    return make_way(way_type, unwatch, method);
}

static PyObject *before_note_poll(PyObject *module, PyObject *method) {
    return make_way(way_type, note_poll, method);
}

static PyMethodDef functions[] = {
    {"set_up", set_up, METH_VARARGS, NULL},
    {"before_append", before_append, METH_O, NULL},
    {"before_append_plain", before_append_plain, METH_O, NULL},
    {"before_take_latest", before_take_latest, METH_O, NULL},
    {"before_run_latest", before_run_latest, METH_O, NULL},
    {"before_unwatch", before_unwatch, METH_O, NULL},
    {"before_note_poll", before_note_poll, METH_O, NULL},
    {NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit__compiled(void) {
    text_key = PyUnicode_InternFromString("key");
    zero = PyLong_FromLong(0);
    one = PyLong_FromLong(1);
    nothing = PyTuple_New(0);
    way_type = (PyTypeObject *)PyType_FromSpec(&way_spec);
    PyObject *made = PyModule_Create(&module);
    if (!text_key || !zero || !one || !nothing || !way_type || !made
        || PyModule_AddIntConstant(made, "SOURCE_CRC", SOURCE_CRC) < 0)
        Py_CLEAR(made);
    return made;
}
