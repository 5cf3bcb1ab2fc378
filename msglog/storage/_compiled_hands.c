/* The loops over frames of commits by hand in C: `place_by_hand`, `pack_frames`, `assign_frames`, `show_frames`,
   `store_frames`, for writers of both kinds.

   They write the same bytes and leave the same state as the Python methods, which stand in several.py, small_entry.py
   and small_commit.py and say what is done and why. They run under the store lock, which the caller holds. Frames are
   tuples as there; what they were checked for once stays, since nothing changes a tuple.

   Imported by compiled.py. */

#include "_compiled_frames.h"
#include <limits.h>

/* Of a SmallFrame. */
enum { STREAM, SEGMENT, POSITION, END, OFFSET, END_OFFSET, STAMP, LATEST, TOTAL, FRAME, BODY, FIELDS };

enum {
    ENTRY_SIZE = 48, /* the header of an entry; its fields, by position: */
    AT_ENTRY_MAGIC = 4,
    AT_ENTRY_LENGTH = 8,
    AT_ENTRY_LIFE = 12,
    AT_ENTRY_NUMBER = 16,
    AT_ENTRY_SYNCED = 24,
    AT_ENTRY_FRAMES = 32,
    AT_ENTRY_BODIES = 36,
    AT_ENTRY_VERSION = 44,
    PLACE_SIZE = 24, /* file id, position, body */
    LENGTH_SIZE = 4,
    ALIGNMENT = 8,
    MOST_FRAMES = 64
};

static struct {
    Py_ssize_t count, data, kind, max_timestamp_ms, span, timestamp_ms, value_bytes;
} body_slot;

static int find_body_slots(PyTypeObject *body) {
    return FIND(body, body, count) || FIND(body, body, data) || FIND(body, body, kind)
        || FIND(body, body, max_timestamp_ms) || FIND(body, body, span) || FIND(body, body, timestamp_ms)
        || FIND(body, body, value_bytes);
}

/* Methods of the writer: for both kinds, for the one with a journal, for the one without. */
enum {
    HAS_ROOM,
    PLACE_BY_HAND,
    PACK_FRAMES,
    ASSIGN_FRAMES,
    SHOW_FRAMES,
    SHOW_FRAME,
    STORE_FRAMES,
    STORE_FRAME,
    METHODS
};

static const char *const method_names[METHODS] = {"has_room",    "place_by_hand", "pack_frames",  "assign_frames",
                                                  "show_frames", "show_frame",    "store_frames", "store_frame"};

/* The writer's own methods, and what is needed to know its objects. */
typedef struct {
    PyObject_HEAD
    Known known;
    PyTypeObject *body_type;
    PyObject *methods[METHODS]; /* NULL where this kind of writer has none */
    long long magic;            /* of an entry */
    long long version;
    int journaled;
} Hands;

/* Leave a call to the writer. */
static PyObject *leave(Hands *self, int method, PyObject *const *args, Py_ssize_t count) {
    if (self->methods[method] == NULL)
        return PyErr_Format(PyExc_TypeError, "this writer has no %s", method_names[method]);
    return PyObject_Vectorcall(self->methods[method], args, count, NULL);
}

/* Read a slot's number, whatever it is. Returns 0 if it is none. */
static int read_number(PyObject *object, Py_ssize_t place, long long *number) {
    PyObject *value = SLOT(object, place);
    if (value == NULL || !PyLong_CheckExact(value)) return 0;
    int overflow;
    *number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return !overflow;
}

/* Whether this is a frame as `place_by_hand` returns it. */
static int is_frame(Hands *self, PyObject *frame) {
    if (!PyTuple_CheckExact(frame) || PyTuple_GET_SIZE(frame) != FIELDS
        || !Py_IS_TYPE(PyTuple_GET_ITEM(frame, STREAM), self->known.stream_type)
        || !Py_IS_TYPE(PyTuple_GET_ITEM(frame, SEGMENT), self->known.segment_type)
        || !PyBytes_CheckExact(PyTuple_GET_ITEM(frame, FRAME)) || !PyBytes_CheckExact(PyTuple_GET_ITEM(frame, BODY)))
        return 0;
    for (int field = POSITION; field <= TOTAL; field++)
        if (number_of(PyTuple_GET_ITEM(frame, field)) < 0) return 0;
    return 1;
}

/* Whether its segment is one that can be dealt with here. */
static int is_usual(Hands *self, PyObject *frame) {
    PyObject *segment = PyTuple_GET_ITEM(frame, SEGMENT);
    long long number;
    return map_of(&self->known, segment) != NULL && read_number(segment, segment_slot.first_timestamp_ms, &number)
        && read_number(segment, segment_slot.max_timestamp_ms, &number)
        && read_number(segment, segment_slot.before_ms, &number);
}

/* Whether these are frames, all of them usual if that is asked for. */
static int are_frames(Hands *self, PyObject *frames, int usual) {
    if (!PyTuple_CheckExact(frames)) return 0;
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(frames); place++) {
        PyObject *frame = PyTuple_GET_ITEM(frames, place);
        if (!is_frame(self, frame) || (usual && !is_usual(self, frame))) return 0;
    }
    return 1;
}

static long long field_of(PyObject *frame, int field) {
    return PyLong_AsLongLong(PyTuple_GET_ITEM(frame, field));
}

/* place_by_hand(bodies) */

/* Whether a frame is too large to be stored through a map: then nothing of it is built, since that costs as much as
   writing it. */
static int is_large(PyObject *body) {
    PyObject *data = SLOT(body, body_slot.data);
    return data != NULL && PyBytes_CheckExact(data) && PyBytes_GET_SIZE(data) > SMALL_LIMIT - HEADER_SIZE;
}

/* Whether a frame that is not large needs nothing but its bytes; -1 when asking for it failed. */
static int has_room(Hands *self, PyObject *stream, PyObject *segment, PyObject *position, PyObject *end) {
    long long to = PyLong_AsLongLong(end);
    if (self->journaled)
        return to <= number_in(segment, segment_slot.capacity) && to <= number_in(stream, stream_slot.segment_bytes)
            && SLOT(stream, stream_slot.segment_ms) == Py_None && SLOT(segment, segment_slot.announced) == Py_True;
    if (to <= number_in(segment, segment_slot.limit)) return 1;
    PyObject *arguments[] = {stream, segment, position, end};
    PyObject *answer = leave(self, HAS_ROOM, arguments, 4);
    if (answer == NULL) return -1;
    int room = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return room;
}

/* What a frame follows: where it goes, and from which offset and total on its stream counts. */
typedef struct {
    PyObject *position, *offset, *total; /* borrowed */
} Start;

/* Find it, behind those of the same commit that stand in `frames` already. Returns DONE without a position for a stream
   that was removed. */
static Outcome find_start(Hands *self, PyObject *stream, PyObject *segment, PyObject *frames, Py_ssize_t place,
                          Start *start) {
    while (place > 0) {
        PyObject *frame = PyTuple_GET_ITEM(frames, --place);
        if (PyTuple_GET_ITEM(frame, STREAM) != stream) continue;
        start->position = PyTuple_GET_ITEM(frame, END);
        start->offset = PyTuple_GET_ITEM(frame, END_OFFSET);
        start->total = PyTuple_GET_ITEM(frame, TOTAL);
        return DONE;
    }
    PyObject *streams = SLOT(self->known.engine, engine_slot.streams);
    if (streams == NULL || !PyDict_CheckExact(streams) || number_in(stream, stream_slot.id) < 0) return FOR_PYTHON;
    PyObject *known = PyDict_GetItemWithError(streams, SLOT(stream, stream_slot.id));
    if (known != stream) return PyErr_Occurred() ? FAILED : DONE;
    if (number_in(segment, segment_slot.position) < 0 || number_in(stream, stream_slot.next_offset) < 0
        || number_in(stream, stream_slot.value_bytes) < 0)
        return FOR_PYTHON;
    start->position = SLOT(segment, segment_slot.position);
    start->offset = SLOT(stream, stream_slot.next_offset);
    start->total = SLOT(stream, stream_slot.value_bytes);
    return DONE;
}

static Outcome build_small(Hands *self, PyObject *made, const Start *before, PyObject *body, long long number,
                           Py_ssize_t frames) {
    PyObject *stamp = SLOT(body, body_slot.timestamp_ms), *latest = SLOT(body, body_slot.max_timestamp_ms);
    PyObject *data = SLOT(body, body_slot.data);
    long long kind = number_in(body, body_slot.kind), count = number_in(body, body_slot.count);
    long long span = number_in(body, body_slot.span), value_bytes = number_in(body, body_slot.value_bytes);
    long long life = number_in(self->known.engine, engine_slot.life), most = 0xFFFFFFFFLL;
    if (data == NULL || !PyBytes_CheckExact(data) || number_in(body, body_slot.timestamp_ms) < 0
        || number_in(body, body_slot.max_timestamp_ms) < 0 || kind < 0 || count < 0 || count > most || span < 0
        || span > most || value_bytes < 0 || life < 0 || life > most)
        return FOR_PYTHON;
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    long long position = PyLong_AsLongLong(before->position), offset = PyLong_AsLongLong(before->offset);
    long long total = PyLong_AsLongLong(before->total);
    PyTuple_SET_ITEM(made, POSITION, Py_NewRef(before->position));
    PyTuple_SET_ITEM(made, OFFSET, Py_NewRef(before->offset));
    PyTuple_SET_ITEM(made, STAMP, Py_NewRef(stamp));
    PyTuple_SET_ITEM(made, LATEST, Py_NewRef(latest));
    PyTuple_SET_ITEM(made, BODY, Py_NewRef(data));
    PyObject *end = PyLong_FromLongLong(position + HEADER_SIZE + size);
    PyObject *end_offset = PyLong_FromLongLong(offset + span);
    PyObject *end_total = PyLong_FromLongLong(total + value_bytes);
    PyObject *frame = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + size);
    PyTuple_SET_ITEM(made, END, end);
    PyTuple_SET_ITEM(made, END_OFFSET, end_offset);
    PyTuple_SET_ITEM(made, TOTAL, end_total);
    PyTuple_SET_ITEM(made, FRAME, frame);
    if (!end || !end_offset || !end_total || !frame) return FAILED;
    char *start = PyBytes_AS_STRING(frame);
    put64(start + AT_KIND, kind);
    put32(start + AT_SIZE, size);
    put32(start + AT_COUNT, count);
    put32(start + AT_SPAN, span);
    put64(start + AT_OFFSET, offset);
    put64(start + AT_TIMESTAMP, number_of(stamp));
    put64(start + AT_LATEST_TIMESTAMP, number_of(latest));
    put64(start + AT_NUMBER, number);
    put32(start + AT_LIFE, life);
    put32(start + AT_FRAMES, frames);
    put64(start + AT_TOTAL, total);
    memcpy(start + HEADER_SIZE, PyBytes_AS_STRING(data), size);
    return DONE;
}

/* Build a frame with its place. `*room` becomes 0 where there is none for it. */
static Outcome place_one(Hands *self, PyObject *pair, PyObject *frames, Py_ssize_t place, long long number, int *room) {
    if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) return FOR_PYTHON;
    PyObject *stream = PyTuple_GET_ITEM(pair, 0), *body = PyTuple_GET_ITEM(pair, 1);
    if (!Py_IS_TYPE(stream, self->known.stream_type) || !Py_IS_TYPE(body, self->body_type)) return FOR_PYTHON;
    /* First of all: making a tuple may collect garbage, and that may run other code. */
    PyObject *made = PyTuple_New(FIELDS), *segment = SLOT(stream, stream_slot.active);
    if (made == NULL) return FAILED;
    PyTuple_SET_ITEM(frames, place, made);
    if (segment == NULL || !Py_IS_TYPE(segment, self->known.segment_type) || map_of(&self->known, segment) == NULL)
        return FOR_PYTHON;
    PyObject *seed = SLOT(segment, segment_slot.crc_seed);
    if (seed == NULL || !PyLong_CheckExact(seed)) return FOR_PYTHON;
    PyTuple_SET_ITEM(made, STREAM, Py_NewRef(stream));
    PyTuple_SET_ITEM(made, SEGMENT, Py_NewRef(segment));
    Start start = {0};
    Outcome outcome = find_start(self, stream, segment, frames, place, &start);
    *room = start.position != NULL && !is_large(body);
    if (outcome == DONE && *room) outcome = build_small(self, made, &start, body, number, PyTuple_GET_SIZE(frames));
    if (outcome != DONE || !*room) return outcome;
    PyObject *frame = PyTuple_GET_ITEM(made, FRAME);
    if (put_crc(&self->known, seed, PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame)) < 0) return FAILED;
    *room = has_room(self, stream, segment, PyTuple_GET_ITEM(made, POSITION), PyTuple_GET_ITEM(made, END));
    return *room < 0 ? FAILED : DONE;
}

static PyObject *hands_place_by_hand(Hands *self, PyObject *bodies) {
    long long before = number_in(self->known.engine, engine_slot.commit_number);
    if (!PyList_CheckExact(bodies) || PyList_GET_SIZE(bodies) > MOST_FRAMES || before < 0)
        return leave(self, PLACE_BY_HAND, &bodies, 1);
    PyObject *frames = PyTuple_New(PyList_GET_SIZE(bodies));
    if (frames == NULL) return NULL;
    Outcome outcome = DONE;
    int room = 1;
    for (Py_ssize_t place = 0; outcome == DONE && room && place < PyTuple_GET_SIZE(frames); place++) {
        /* Held, and counted anew: asking for room may run other code. */
        PyObject *pair = place < PyList_GET_SIZE(bodies) ? Py_NewRef(PyList_GET_ITEM(bodies, place)) : NULL;
        outcome = pair == NULL ? FOR_PYTHON : place_one(self, pair, frames, place, before + 1, &room);
        Py_XDECREF(pair);
    }
    if (outcome == DONE && room) return frames;
    Py_DECREF(frames);
    if (outcome == FOR_PYTHON) return leave(self, PLACE_BY_HAND, &bodies, 1);
    return outcome == DONE ? Py_NewRef(Py_None) : NULL;
}

/* pack_frames(seed, number, frames) */

static PyObject *pack(Hands *self, PyObject *seed, long long number, PyObject *frames, long long life,
                      long long synced) {
    Py_ssize_t count = PyTuple_GET_SIZE(frames), bodies = 0, size = ENTRY_SIZE;
    PyObject *last = NULL;
    for (Py_ssize_t place = 0; place < count; place++) {
        PyObject *body = PyTuple_GET_ITEM(PyTuple_GET_ITEM(frames, place), BODY);
        size += PLACE_SIZE + HEADER_SIZE;
        if (body != last) { /* copies are known as one body where they follow each other */
            bodies++;
            size += LENGTH_SIZE + PyBytes_GET_SIZE(body);
        }
        last = body;
    }
    Py_ssize_t padding = -size & (ALIGNMENT - 1);
    PyObject *entry = PyBytes_FromStringAndSize(NULL, size + padding);
    if (entry == NULL) return NULL;
    char *start = PyBytes_AS_STRING(entry), *at = start + ENTRY_SIZE;
    memset(start, 0, ENTRY_SIZE);
    memset(start + size, 0, padding);
    put32(start + AT_ENTRY_MAGIC, self->magic);
    put32(start + AT_ENTRY_LENGTH, size);
    put32(start + AT_ENTRY_LIFE, life);
    put64(start + AT_ENTRY_NUMBER, number);
    put64(start + AT_ENTRY_SYNCED, synced);
    put32(start + AT_ENTRY_FRAMES, count);
    put32(start + AT_ENTRY_BODIES, bodies);
    put32(start + AT_ENTRY_VERSION, self->version);
    char *length = at + count * (PLACE_SIZE + HEADER_SIZE), *data = length + bodies * LENGTH_SIZE;
    bodies = -1;
    last = NULL;
    for (Py_ssize_t place = 0; place < count; place++) {
        PyObject *frame = PyTuple_GET_ITEM(frames, place), *body = PyTuple_GET_ITEM(frame, BODY);
        if (body != last) {
            bodies++;
            put32(length, PyBytes_GET_SIZE(body));
            memcpy(data, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body));
            length += LENGTH_SIZE;
            data += PyBytes_GET_SIZE(body);
        }
        last = body;
        put64(at, number_in(PyTuple_GET_ITEM(frame, SEGMENT), segment_slot.file_id));
        put64(at + 8, field_of(frame, POSITION));
        put64(at + 16, bodies); /* and four bytes of zeros */
        memcpy(at + PLACE_SIZE, PyBytes_AS_STRING(PyTuple_GET_ITEM(frame, FRAME)), HEADER_SIZE);
        at += PLACE_SIZE + HEADER_SIZE;
    }
    if (put_crc(&self->known, seed, start, size) < 0) Py_CLEAR(entry);
    return entry;
}

static PyObject *hands_pack_frames(Hands *self, PyObject *const *args, Py_ssize_t count) {
    if (count == 3 && PyLong_CheckExact(args[0]) && are_frames(self, args[2], 1)) {
        long long number = number_of(args[1]), life = number_in(self->known.engine, engine_slot.life);
        long long synced = number_in(self->known.engine, engine_slot.published);
        int usual = number >= 0 && life >= 0 && life <= 0xFFFFFFFFLL && synced >= 0;
        for (Py_ssize_t place = 0; usual && place < PyTuple_GET_SIZE(args[2]); place++) {
            PyObject *frame = PyTuple_GET_ITEM(args[2], place);
            usual = PyBytes_GET_SIZE(PyTuple_GET_ITEM(frame, FRAME)) >= HEADER_SIZE
                && number_in(PyTuple_GET_ITEM(frame, SEGMENT), segment_slot.file_id) >= 0;
        }
        if (usual) return pack(self, args[0], number, args[2], life, synced);
    }
    return leave(self, PACK_FRAMES, args, count);
}

/* assign_frames(frames), show_frames(frames), store_frames(frames) */

/* Advance the assigned state over a frame. Nothing here fails or runs other code. */
static void assign(PyObject *frame) {
    PyObject *stream = PyTuple_GET_ITEM(frame, STREAM), *segment = PyTuple_GET_ITEM(frame, SEGMENT);
    long long first = 0, latest = 0;
    read_number(segment, segment_slot.first_timestamp_ms, &first);
    read_number(segment, segment_slot.max_timestamp_ms, &latest);
    if (first == LLONG_MIN) set_slot(segment, segment_slot.first_timestamp_ms, PyTuple_GET_ITEM(frame, STAMP));
    if (field_of(frame, LATEST) > latest)
        set_slot(segment, segment_slot.max_timestamp_ms, PyTuple_GET_ITEM(frame, LATEST));
    set_slot(segment, segment_slot.end_offset, PyTuple_GET_ITEM(frame, END_OFFSET));
    set_slot(stream, stream_slot.next_offset, PyTuple_GET_ITEM(frame, END_OFFSET));
    set_slot(segment, segment_slot.position, PyTuple_GET_ITEM(frame, END));
    set_slot(segment, segment_slot.value_total, PyTuple_GET_ITEM(frame, TOTAL));
    set_slot(stream, stream_slot.value_bytes, PyTuple_GET_ITEM(frame, TOTAL));
}

/* Copy a frame into its segment's map. */
static Outcome copy_frame(Hands *self, PyObject *frame) {
    PyObject *map = map_of(&self->known, PyTuple_GET_ITEM(frame, SEGMENT)), *bytes = PyTuple_GET_ITEM(frame, FRAME);
    long long position = field_of(frame, POSITION), end = field_of(frame, END);
    Py_buffer view;
    if (map == NULL || PyBytes_GET_SIZE(bytes) != end - position) return FOR_PYTHON;
    if (PyObject_GetBuffer(map, &view, PyBUF_WRITABLE) < 0) return FAILED;
    Outcome outcome = end > view.len ? FOR_PYTHON : DONE;
    if (outcome == DONE) memcpy((char *)view.buf + position, PyBytes_AS_STRING(bytes), end - position);
    PyBuffer_Release(&view);
    return outcome;
}

/* What `show_frame` does, where neither zeros nor an entry of the index are due. */
static Outcome show(Hands *self, PyObject *frame) {
    PyObject *segment = PyTuple_GET_ITEM(frame, SEGMENT);
    if (SLOT(segment, segment_slot.dropped) == Py_True) return DONE;
    if (SLOT(segment, segment_slot.dropped) != Py_False
        || field_of(frame, END) > number_in(segment, segment_slot.zeroed_position)
        || field_of(frame, POSITION) >= number_in(segment, segment_slot.next_index_position))
        return FOR_PYTHON;
    Outcome outcome = copy_frame(self, frame);
    if (outcome != DONE) return outcome;
    long long before = 0;
    read_number(segment, segment_slot.before_ms, &before);
    if (field_of(frame, LATEST) > before) set_slot(segment, segment_slot.before_ms, PyTuple_GET_ITEM(frame, LATEST));
    set_slot(segment, segment_slot.stored_position, PyTuple_GET_ITEM(frame, END));
    return DONE;
}

/* What `store_frame` does. */
static Outcome store_and_assign(Hands *self, PyObject *frame) {
    PyObject *segment = PyTuple_GET_ITEM(frame, SEGMENT);
    if (SLOT(segment, segment_slot.dropped) == Py_True) return DONE;
    if (SLOT(segment, segment_slot.dropped) != Py_False) return FOR_PYTHON;
    Outcome outcome = copy_frame(self, frame);
    if (outcome != DONE) return outcome;
    assign(frame);
    set_slot(segment, segment_slot.before_ms, SLOT(segment, segment_slot.max_timestamp_ms));
    set_slot(segment, segment_slot.stored_position, PyTuple_GET_ITEM(frame, END));
    set_slot(PyTuple_GET_ITEM(frame, STREAM), stream_slot.end, PyTuple_GET_ITEM(frame, END_OFFSET));
    return DONE;
}

/* Do something with each frame, here or by a method of the writer. What was left to that may have changed something,
   so each is looked at when its turn comes. */
static int each_frame(Hands *self, PyObject *frames, Outcome (*do_one)(Hands *, PyObject *), int method) {
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(frames); place++) {
        PyObject *frame = PyTuple_GET_ITEM(frames, place);
        Outcome outcome = is_usual(self, frame) ? do_one(self, frame) : FOR_PYTHON;
        if (outcome == FAILED) return -1;
        if (outcome == DONE) continue;
        PyObject *none = leave(self, method, &frame, 1);
        if (none == NULL) return -1;
        Py_DECREF(none);
    }
    return 0;
}

static PyObject *hands_assign_frames(Hands *self, PyObject *frames) {
    if (!are_frames(self, frames, 1)) return leave(self, ASSIGN_FRAMES, &frames, 1);
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(frames); place++) assign(PyTuple_GET_ITEM(frames, place));
    Py_RETURN_NONE;
}

static PyObject *hands_show_frames(Hands *self, PyObject *frames) {
    if (!are_frames(self, frames, 0)) return leave(self, SHOW_FRAMES, &frames, 1);
    if (each_frame(self, frames, show, SHOW_FRAME) < 0) return NULL;
    int watched = 0;
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(frames); place++) {
        PyObject *frame = PyTuple_GET_ITEM(frames, place), *stream = PyTuple_GET_ITEM(frame, STREAM);
        PyObject *waiters = SLOT(stream, stream_slot.waiters);
        set_slot(stream, stream_slot.end, PyTuple_GET_ITEM(frame, END_OFFSET));
        watched |= waiters == NULL || !PySet_Check(waiters) || PySet_GET_SIZE(waiters) > 0;
    }
    return PyBool_FromLong(watched);
}

static PyObject *hands_store_frames(Hands *self, PyObject *frames) {
    if (!are_frames(self, frames, 0)) return leave(self, STORE_FRAMES, &frames, 1);
    return each_frame(self, frames, store_and_assign, STORE_FRAME) < 0 ? NULL : Py_NewRef(Py_None);
}

/* The class, and the module */

static int hands_traverse(Hands *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->body_type);
    for (int method = 0; method < METHODS; method++) Py_VISIT(self->methods[method]);
    return visit_known(&self->known, visit, arg);
}

static void hands_dealloc(Hands *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->body_type);
    for (int method = 0; method < METHODS; method++) Py_XDECREF(self->methods[method]);
    forget(&self->known);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Hands(writer, engine, what else is known, body type, an entry's magic, its version, whether it has a journal) */
static PyObject *hands_new(PyTypeObject *type, PyObject *args, PyObject *options) {
    PyObject *writer, *engine, *known, *body_type;
    long long magic, version;
    int journaled;
    if (options != NULL && PyDict_GET_SIZE(options) > 0) return PyErr_Format(PyExc_TypeError, "no keywords here");
    if (!PyArg_ParseTuple(args, "OOO!O!LLp", &writer, &engine, &PyTuple_Type, &known, &PyType_Type, &body_type, &magic,
                          &version, &journaled))
        return NULL;
    Hands *self = (Hands *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->body_type = (PyTypeObject *)Py_NewRef(body_type);
    self->magic = magic;
    self->version = version;
    self->journaled = journaled;
    int failed = get_to_know(&self->known, engine, known) < 0 || find_body_slots(self->body_type) != 0;
    for (int method = 0; !failed && method < METHODS; method++) {
        if (method >= PACK_FRAMES && journaled != (method < STORE_FRAMES)) continue;
        self->methods[method] = PyObject_GetAttrString(writer, method_names[method]);
        failed = self->methods[method] == NULL;
    }
    if (failed) Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef hands_methods[] = {
    {"place_by_hand", (PyCFunction)hands_place_by_hand, METH_O, NULL},
    {"pack_frames", (PyCFunction)(void (*)(void))hands_pack_frames, METH_FASTCALL, NULL},
    {"assign_frames", (PyCFunction)hands_assign_frames, METH_O, NULL},
    {"show_frames", (PyCFunction)hands_show_frames, METH_O, NULL},
    {"store_frames", (PyCFunction)hands_store_frames, METH_O, NULL},
    {NULL},
};

static PyType_Slot hands_slots[] = {
    {Py_tp_new, hands_new},
    {Py_tp_dealloc, hands_dealloc},
    {Py_tp_traverse, hands_traverse},
    {Py_tp_methods, hands_methods},
    {0, NULL},
};

static PyType_Spec hands_spec = {
    .name = "msglog.storage._compiled_hands.Hands",
    .basicsize = sizeof(Hands),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = hands_slots,
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled_hands", .m_size = -1};

PyMODINIT_FUNC PyInit__compiled_hands(void) {
    return make_module(&module, &hands_spec);
}
