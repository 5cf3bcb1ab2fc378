/* The hot paths of `JournalWriter` in C: single records by `append` and `append_unwaited`, and `show_singles` after the
   sync.

   They write the same bytes and leave the same state as the Python methods, which stand in writers.py and
   small_entry.py and say what is done and why. Here is only what nearly every call does: room in a mapped file and in
   the journal, no obstacle, no index entry due. Exceptions to the rule that nothing runs after the first change are the
   dict and the deque that get what is journaled; there the engine's obstacle is the same note as in Python.

   Imported by compiled.py. */

#include "_compiled_frames.h"
#include <limits.h>

enum {
    ENTRY_MAGIC = 0x454D4C4D,
    ENTRY_VERSION = 1,
    BEFORE_FRAME_SIZE = 72, /* of an entry before its frame's header: its own header and one place */
    ENTRY_ALIGNMENT = 8
};

static struct {
    Py_ssize_t _active, _areas;
} journal_slot;
static struct {
    Py_ssize_t crc_seed, last_commit, position, size, unwritten;
} area_slot;

static int find_journal_slots(PyTypeObject *journal, PyTypeObject *area) {
    return FIND(journal, journal, _active) || FIND(journal, journal, _areas) || FIND(area, area, crc_seed)
        || FIND(area, area, last_commit) || FIND(area, area, position) || FIND(area, area, size)
        || FIND(area, area, unwritten);
}

/* What a writer lends, its own methods for all that is not done here, and what every frame has in common. */
typedef struct {
    PyObject_HEAD
    Known known;
    Headers headers;
    PyObject *journal;
    PyTypeObject *area_type;
    PyTypeObject *single_type;
    PyObject *pending; /* its deque of commits that are not shown yet */
    PyObject *append;
    PyObject *append_unwaited;
    PyObject *wait;
    PyObject *request_checkpoint;
    long long life;
    long long most_commits; /* and bytes of events, before a checkpoint may be due */
    long long most_state_cost;
} JournalWays;

static PyObject *text_append, *text_popleft;

/* append(stream, value, timestamp_ms, key=None): by an entry in the journal */

/* The parts of a `Single`, by place. */
enum {
    S_NUMBER,
    S_STREAM,
    S_SEGMENT,
    S_POSITION,
    S_END,
    S_OFFSET,
    S_TIMESTAMP,
    S_TOTAL,
    S_FRAME,
    S_ENTRY,
    S_ENTRY_POSITION,
    S_PARTS
};

/* One record's commit, built, with what follows from it. */
typedef struct {
    PyObject *single;
    PyObject *area;
    PyObject *area_after; /* the position behind the entry */
    PyObject *next_offset;
} Entry;

static void clear_entry(Entry *entry) {
    Py_CLEAR(entry->single);
    Py_CLEAR(entry->area);
    Py_CLEAR(entry->area_after);
    Py_CLEAR(entry->next_offset);
}

#define PART(single, place) PyTuple_GET_ITEM(single, place)

static PyObject *active_area(JournalWays *self) {
    PyObject *areas = SLOT(self->journal, journal_slot._areas);
    long long active = number_in(self->journal, journal_slot._active);
    if (areas == NULL || !PyList_CheckExact(areas) || active < 0 || active >= PyList_GET_SIZE(areas)) return NULL;
    PyObject *area = PyList_GET_ITEM(areas, active);
    return Py_IS_TYPE(area, self->area_type) ? area : NULL;
}

/* Whether nothing but a frame up to `end` is due: what `single` asks, and that the map is one of those for here. */
static int has_room_for_one(JournalWays *self, PyObject *stream, PyObject *segment, long long end) {
    PyObject *streams = SLOT(self->known.engine, engine_slot.streams), *id = SLOT(stream, stream_slot.id);
    if (map_of(&self->known, segment) == NULL || id == NULL || SLOT(stream, stream_slot.segment_ms) != Py_None
        || SLOT(segment, segment_slot.announced) != Py_True || end > number_in(segment, segment_slot.capacity)
        || end > number_in(stream, stream_slot.segment_bytes) || streams == NULL || !PyDict_CheckExact(streams))
        return 0;
    PyObject *known = PyDict_GetItemWithError(streams, id);
    return known == NULL && PyErr_Occurred() ? -1 : known == stream;
}

static PyObject *frame_of(JournalWays *self, PyObject *segment, PyObject *const *args, PyObject *key, Py_ssize_t size,
                          long long offset, long long number, long long total) {
    PyObject *frame = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + size);
    if (frame == NULL) return NULL;
    char *data = PyBytes_AS_STRING(frame);
    const char *header = key == Py_None ? self->headers.plain : self->headers.keyed;
    put_header(data, header, size, number_of(args[2]), number);
    put_place(data, offset, total);
    put_body(data + HEADER_SIZE, key, args[1]);
    if (put_crc(&self->known, SLOT(segment, segment_slot.crc_seed), data, HEADER_SIZE + size) < 0) Py_CLEAR(frame);
    return frame;
}

static PyObject *entry_of(JournalWays *self, PyObject *area, PyObject *frame, long long number, long long synced,
                          long long file_id, long long position) {
    Py_ssize_t size = PyBytes_GET_SIZE(frame), length = BEFORE_FRAME_SIZE + KEY_SIZE + size;
    Py_ssize_t padded = (length + ENTRY_ALIGNMENT - 1) / ENTRY_ALIGNMENT * ENTRY_ALIGNMENT;
    PyObject *entry = PyBytes_FromStringAndSize(NULL, padded);
    if (entry == NULL) return NULL;
    char *data = PyBytes_AS_STRING(entry);
    memset(data, 0, BEFORE_FRAME_SIZE);
    memset(data + length, 0, padded - length);
    put32(data + 4, ENTRY_MAGIC);
    put32(data + 8, length);
    put32(data + 12, self->life);
    put64(data + 16, number);
    put64(data + 24, synced);
    put32(data + 32, 1); /* frame */
    put32(data + 36, 1); /* body */
    put32(data + 44, ENTRY_VERSION);
    put64(data + 48, file_id);
    put64(data + 56, position);
    char *header = data + BEFORE_FRAME_SIZE, *body = header + HEADER_SIZE + KEY_SIZE;
    memcpy(header, PyBytes_AS_STRING(frame), HEADER_SIZE);
    put32(header + HEADER_SIZE, size - HEADER_SIZE);
    memcpy(body, PyBytes_AS_STRING(frame) + HEADER_SIZE, size - HEADER_SIZE);
    if (put_crc(&self->known, SLOT(area, area_slot.crc_seed), data, length) < 0) Py_CLEAR(entry);
    return entry;
}

/* Give one record its place, as `SmallEntries.single` does. */
static Outcome begin_entry(JournalWays *self, Entry *entry, PyObject *const *args, PyObject *key, Py_ssize_t size) {
    PyObject *stream = args[0], *segment = SLOT(stream, stream_slot.active), *area = active_area(self);
    if (segment == NULL || area == NULL || !Py_IS_TYPE(segment, self->known.segment_type)) return FOR_PYTHON;
    long long number = next_number(&self->known), synced = number_in(self->known.engine, engine_slot.published);
    long long position = number_in(segment, segment_slot.position), file_id = number_in(segment, segment_slot.file_id);
    long long offset = number_in(stream, stream_slot.next_offset);
    long long total = number_in(stream, stream_slot.value_bytes), end = position + HEADER_SIZE + size;
    long long area_position = number_in(area, area_slot.position);
    Py_ssize_t entry_size = BEFORE_FRAME_SIZE + HEADER_SIZE + KEY_SIZE + size + ENTRY_ALIGNMENT;
    if (number < 0 || synced < 0 || position < 0 || file_id < 0 || offset < 0 || total < 0 || area_position < 0
        || number_of(args[2]) < 0 || SLOT(segment, segment_slot.crc_seed) == NULL
        || SLOT(area, area_slot.crc_seed) == NULL || SLOT(area, area_slot.unwritten) == NULL
        || !PyDict_CheckExact(SLOT(area, area_slot.unwritten))
        || area_position + entry_size > number_in(area, area_slot.size))
        return FOR_PYTHON;
    int room = has_room_for_one(self, stream, segment, end);
    if (room <= 0) return room < 0 ? FAILED : FOR_PYTHON;
    entry->area = Py_NewRef(area);
    PyObject *single = entry->single = self->single_type->tp_alloc(self->single_type, S_PARTS);
    if (single == NULL) return FAILED;
    PyTuple_SET_ITEM(single, S_STREAM, Py_NewRef(stream));
    PyTuple_SET_ITEM(single, S_SEGMENT, Py_NewRef(segment));
    PyTuple_SET_ITEM(single, S_POSITION, Py_NewRef(SLOT(segment, segment_slot.position)));
    PyTuple_SET_ITEM(single, S_OFFSET, Py_NewRef(SLOT(stream, stream_slot.next_offset)));
    PyTuple_SET_ITEM(single, S_TIMESTAMP, Py_NewRef(args[2]));
    PyTuple_SET_ITEM(single, S_ENTRY_POSITION, Py_NewRef(SLOT(area, area_slot.position)));
    PyTuple_SET_ITEM(single, S_NUMBER, PyLong_FromLongLong(number));
    PyTuple_SET_ITEM(single, S_END, PyLong_FromLongLong(end));
    PyTuple_SET_ITEM(single, S_TOTAL, PyLong_FromLongLong(total + PyBytes_GET_SIZE(args[1])));
    PyObject *frame = frame_of(self, segment, args, key, size, offset, number, total);
    PyTuple_SET_ITEM(single, S_FRAME, frame);
    if (frame == NULL) return FAILED;
    PyObject *packed = entry_of(self, area, frame, number, synced, file_id, position);
    PyTuple_SET_ITEM(single, S_ENTRY, packed);
    if (packed == NULL) return FAILED;
    entry->area_after = PyLong_FromLongLong(area_position + PyBytes_GET_SIZE(packed));
    entry->next_offset = PyLong_FromLongLong(offset + 1);
    return PART(single, S_NUMBER) == NULL || PART(single, S_END) == NULL || PART(single, S_TOTAL) == NULL
            || entry->area_after == NULL || entry->next_offset == NULL
        ? FAILED
        : DONE;
}

/* Write the entry and advance the assigned state, as `redo_single`; what fails here is done by that later. */
static Outcome write_entry(JournalWays *self, Entry *entry) {
    PyObject *single = entry->single, *area = entry->area, *timestamp = PART(single, S_TIMESTAMP);
    PyObject *stream = PART(single, S_STREAM), *segment = PART(single, S_SEGMENT);
    set_slot(self->known.engine, engine_slot.obstacle, single);
    PyObject *unwritten = SLOT(area, area_slot.unwritten);
    if (PyDict_SetItem(unwritten, PART(single, S_ENTRY_POSITION), PART(single, S_ENTRY)) < 0) return FAILED;
    set_slot(area, area_slot.position, entry->area_after);
    set_slot(area, area_slot.last_commit, PART(single, S_NUMBER));
    if (number_in(segment, segment_slot.first_timestamp_ms) == LLONG_MIN)
        set_slot(segment, segment_slot.first_timestamp_ms, timestamp);
    if (number_of(timestamp) > number_in(segment, segment_slot.max_timestamp_ms))
        set_slot(segment, segment_slot.max_timestamp_ms, timestamp);
    set_slot(segment, segment_slot.end_offset, entry->next_offset);
    set_slot(segment, segment_slot.position, PART(single, S_END));
    set_slot(segment, segment_slot.value_total, PART(single, S_TOTAL));
    set_slot(stream, stream_slot.value_bytes, PART(single, S_TOTAL));
    set_slot(stream, stream_slot.next_offset, entry->next_offset);
    set_slot(self->known.engine, engine_slot.commit_number, PART(single, S_NUMBER));
    PyObject *none = PyObject_CallMethodOneArg(self->pending, text_append, single);
    if (none == NULL) return FAILED;
    Py_DECREF(none);
    set_slot(self->known.engine, engine_slot.obstacle, SLOT(self->known.engine, engine_slot.failure));
    return DONE;
}

/* Let Python see whether a checkpoint is due, where it may be. */
static Outcome look_at_checkpoint(JournalWays *self, Entry *entry) {
    PyObject *number = PART(entry->single, S_NUMBER);
    long long behind = PyLong_AsLongLong(number) - number_in(self->known.engine, engine_slot.durable_commit);
    if (behind < self->most_commits
        && number_in(entry->area, area_slot.position) * 2 <= number_in(entry->area, area_slot.size)
        && number_in(self->known.engine, engine_slot.state_cost) < self->most_state_cost
        && SLOT(self->known.engine, engine_slot.snapshot_wanted) == Py_False)
        return DONE;
    PyObject *none = PyObject_CallOneArg(self->request_checkpoint, number);
    if (none == NULL) return FAILED;
    Py_DECREF(none);
    return DONE;
}

static PyObject *append_by_journal(JournalWays *self, PyObject *const *args, Py_ssize_t count, PyObject *python,
                                   int waits) {
    PyObject *key = count > 3 ? args[3] : Py_None;
    Py_ssize_t size = size_of_one(&self->known, args, count, key);
    if (size < 0) return PyObject_Vectorcall(python, args, count, NULL);
    Entry entry = {0};
    if (take_lock(&self->known) < 0) return NULL;
    Outcome outcome = begin_entry(self, &entry, args, key, size);
    if (outcome == DONE) outcome = write_entry(self, &entry);
    if (outcome == DONE) outcome = look_at_checkpoint(self, &entry);
    if (release_lock(&self->known) < 0) outcome = FAILED;
    PyObject *offset = NULL;
    if (outcome == DONE) {
        PyObject *none = waits ? PyObject_CallOneArg(self->wait, PART(entry.single, S_NUMBER)) : Py_NewRef(Py_None);
        if (none != NULL) offset = Py_NewRef(PART(entry.single, S_OFFSET));
        Py_XDECREF(none);
    }
    clear_entry(&entry);
    return outcome == FOR_PYTHON ? PyObject_Vectorcall(python, args, count, NULL) : offset;
}

static PyObject *ways_append(JournalWays *self, PyObject *const *args, Py_ssize_t count) {
    return append_by_journal(self, args, count, self->append, 1);
}

/* append_unwaited(stream, value, timestamp_ms, key=None): the same, without waiting for the sync */

static PyObject *ways_append_unwaited(JournalWays *self, PyObject *const *args, Py_ssize_t count) {
    return append_by_journal(self, args, count, self->append_unwaited, 0);
}

/* show_singles(commit): store and show what is synced, as `_publish_up_to` does, as far as it is single records */

/* Set what `note_frame_at` sets where no entry of the index is due. */
static int set_limit(PyObject *segment) {
    Py_ssize_t places[] = {segment_slot.capacity, segment_slot.next_index_position, segment_slot.zeroed_position};
    Py_ssize_t least = places[0];
    for (int place = 1; place < 3; place++)
        if (number_in(segment, places[place]) < number_in(segment, least)) least = places[place];
    set_slot(segment, segment_slot.limit, SLOT(segment, least));
    return 0;
}

static Outcome show_single(JournalWays *self, PyObject *single, long long number) {
    PyObject *stream = PART(single, S_STREAM), *segment = PART(single, S_SEGMENT), *frame = PART(single, S_FRAME);
    PyObject *map = map_of(&self->known, segment), *waiters = SLOT(stream, stream_slot.waiters);
    long long position = PyLong_AsLongLong(PART(single, S_POSITION)), end = PyLong_AsLongLong(PART(single, S_END));
    if (SLOT(segment, segment_slot.dropped) != Py_False || map == NULL
        || end > number_in(segment, segment_slot.zeroed_position) || number_in(segment, segment_slot.capacity) < 0
        || (position >= number_in(segment, segment_slot.next_index_position)
            && SLOT(segment, segment_slot.index) != Py_None)
        || waiters == NULL || !PySet_CheckExact(waiters) || PySet_GET_SIZE(waiters) > 0)
        return FOR_PYTHON;
    Page page = {0};
    Py_buffer view;
    PyObject *after = PyLong_FromLongLong(PyLong_AsLongLong(PART(single, S_OFFSET)) + 1);
    if (after == NULL) return FAILED;
    if (PyObject_GetBuffer(map, &view, PyBUF_WRITABLE) < 0) {
        Py_DECREF(after);
        return FAILED;
    }
    Outcome outcome = end > view.len ? FOR_PYTHON : open_page(&self->known, &page) < 0 ? FAILED : DONE;
    if (outcome == DONE) {
        memcpy((char *)view.buf + position, PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame));
        set_limit(segment);
        if (number_of(PART(single, S_TIMESTAMP)) > number_in(segment, segment_slot.before_ms))
            set_slot(segment, segment_slot.before_ms, PART(single, S_TIMESTAMP));
        set_slot(segment, segment_slot.stored_position, PART(single, S_END));
        set_slot(stream, stream_slot.end, after);
        publish_number(&self->known, &page, PART(single, S_NUMBER), number);
        close_page(&page);
    }
    PyBuffer_Release(&view);
    Py_DECREF(after);
    return outcome;
}

static PyObject *ways_show_singles(JournalWays *self, PyObject *commit) {
    long long target = PyLong_AsLongLong(commit);
    if (target == -1 && PyErr_Occurred()) return NULL;
    Py_ssize_t shown = 0, waiting;
    while ((waiting = PyObject_Size(self->pending)) > 0) {
        PyObject *single = PySequence_GetItem(self->pending, 0);
        if (single == NULL) return NULL;
        Outcome outcome = FOR_PYTHON;
        if (Py_IS_TYPE(single, self->single_type)) {
            long long number = PyLong_AsLongLong(PART(single, S_NUMBER));
            if (number <= target) outcome = show_single(self, single, number);
        }
        Py_DECREF(single);
        if (outcome == FAILED) return NULL;
        if (outcome == FOR_PYTHON) break;
        PyObject *popped = PyObject_CallMethodNoArgs(self->pending, text_popleft);
        if (popped == NULL) return NULL;
        Py_DECREF(popped);
        shown++;
    }
    return PyLong_FromSsize_t(shown);
}

/* The class, and the module */

static int ways_traverse(JournalWays *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->journal);
    Py_VISIT(self->area_type);
    Py_VISIT(self->single_type);
    Py_VISIT(self->pending);
    Py_VISIT(self->append);
    Py_VISIT(self->append_unwaited);
    Py_VISIT(self->wait);
    Py_VISIT(self->request_checkpoint);
    return visit_known(&self->known, visit, arg);
}

static void ways_dealloc(JournalWays *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->journal);
    Py_XDECREF(self->area_type);
    Py_XDECREF(self->single_type);
    Py_XDECREF(self->pending);
    Py_XDECREF(self->append);
    Py_XDECREF(self->append_unwaited);
    Py_XDECREF(self->wait);
    Py_XDECREF(self->request_checkpoint);
    forget(&self->known);
    type->tp_free(self);
    Py_DECREF(type);
}

/* JournalWays(engine, what else is known, headers, what the writer lends) */
static PyObject *ways_new(PyTypeObject *type, PyObject *args, PyObject *options) {
    PyObject *engine, *known, *headers, *journal, *area_type, *single_type, *pending;
    PyObject *append, *append_unwaited, *wait, *request_checkpoint;
    long long life, most_commits, most_state_cost;
    if (options != NULL && PyDict_GET_SIZE(options) > 0) return PyErr_Format(PyExc_TypeError, "no keywords here");
    if (!PyArg_ParseTuple(args, "OO!O!(OO!O!OOOOOLLL)", &engine, &PyTuple_Type, &known, &PyTuple_Type, &headers,
                          &journal, &PyType_Type, &area_type, &PyType_Type, &single_type, &pending, &append,
                          &append_unwaited, &wait, &request_checkpoint, &life, &most_commits, &most_state_cost))
        return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)single_type, &PyTuple_Type)
        || ((PyTypeObject *)single_type)->tp_basicsize != PyTuple_Type.tp_basicsize)
        return PyErr_Format(PyExc_ValueError, "tuples for its commits");
    JournalWays *self = (JournalWays *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->journal = Py_NewRef(journal);
    self->area_type = (PyTypeObject *)Py_NewRef(area_type);
    self->single_type = (PyTypeObject *)Py_NewRef(single_type);
    self->pending = Py_NewRef(pending);
    self->append = Py_NewRef(append);
    self->append_unwaited = Py_NewRef(append_unwaited);
    self->wait = Py_NewRef(wait);
    self->request_checkpoint = Py_NewRef(request_checkpoint);
    self->life = life;
    self->most_commits = most_commits;
    self->most_state_cost = most_state_cost;
    if (get_to_know(&self->known, engine, known) < 0 || copy_headers(&self->headers, headers) < 0
        || find_journal_slots(Py_TYPE(journal), (PyTypeObject *)area_type) != 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef ways_methods[] = {
    {"append", (PyCFunction)(void (*)(void))ways_append, METH_FASTCALL, NULL},
    {"append_unwaited", (PyCFunction)(void (*)(void))ways_append_unwaited, METH_FASTCALL, NULL},
    {"show_singles", (PyCFunction)ways_show_singles, METH_O, NULL},
    {NULL},
};

static PyType_Slot ways_slots[] = {
    {Py_tp_new, ways_new},
    {Py_tp_dealloc, ways_dealloc},
    {Py_tp_traverse, ways_traverse},
    {Py_tp_methods, ways_methods},
    {0, NULL},
};

static PyType_Spec ways_spec = {
    .name = "msglog.storage._compiled_journal.JournalWays",
    .basicsize = sizeof(JournalWays),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = ways_slots,
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled_journal", .m_size = -1};

PyMODINIT_FUNC PyInit__compiled_journal(void) {
    text_append = PyUnicode_InternFromString("append");
    text_popleft = PyUnicode_InternFromString("popleft");
    return text_append && text_popleft ? make_module(&module, &ways_spec) : NULL;
}
