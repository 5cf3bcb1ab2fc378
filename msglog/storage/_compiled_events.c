/* Packing events in C: `Writer.bodies_of`, which makes the last batch of a commit of its events.

   It returns what the Python method returns, which stands in planning.py; how an event is packed stands in state.py.
   Here are some small events of numbers, texts and lists. Whatever else comes up is left to the Python method.

   Imported by compiled.py. */

#include "_compiled.h"

enum {
    MOST_EVENTS = 64,
    MOST_BYTES = 2048, /* of all events */
    DEEPEST = 8,       /* lists in lists */
    LENGTH_SIZE = 4
};

static struct {
    Py_ssize_t clock, streams;
} engine_slot;
static struct {
    Py_ssize_t bodies, events;
} commit_slot;
static struct {
    Py_ssize_t count, data, kind, max_timestamp_ms, span, timestamp_ms, value_bytes;
} body_slot;

#define FIND(class, name) find_slot(class, #name, &class##_slot.name)

static int find_slots(PyTypeObject *engine, PyTypeObject *commit, PyTypeObject *body) {
    return FIND(engine, clock) || FIND(engine, streams) || FIND(commit, bodies) || FIND(commit, events)
        || FIND(body, count) || FIND(body, data) || FIND(body, kind) || FIND(body, max_timestamp_ms) || FIND(body, span)
        || FIND(body, timestamp_ms) || FIND(body, value_bytes);
}

/* What a writer lends: its engine, its own method, and how records without keys are marked, as even as uneven ones. */
typedef struct {
    PyObject_HEAD
    PyObject *engine, *python, *state; /* the number of the stream of events */
    PyTypeObject *commit_type, *body_type;
    PyObject *cursors, *settle, *kind_plain, *kind_uneven;
    unsigned char mark;
} Events;

static PyObject *text_now_ms;

/* Events as they are packed, one behind the other. `full`: there was no room for them. */
typedef struct {
    unsigned char bytes[MOST_BYTES];
    Py_ssize_t size;
    int full;
} Packed;

static void put(Packed *packed, const void *bytes, Py_ssize_t size) {
    if (size > MOST_BYTES - packed->size) {
        packed->full = 1;
        return;
    }
    memcpy(packed->bytes + packed->size, bytes, size);
    packed->size += size;
}

/* Put a mark and a number behind it, of so many bytes, the largest first. */
static void put_marked(Packed *packed, unsigned char mark, unsigned long long number, int size) {
    unsigned char bytes[9] = {mark};
    for (int byte = 0; byte < size; byte++) bytes[1 + byte] = (unsigned char)(number >> 8 * (size - 1 - byte));
    put(packed, bytes, 1 + size);
}

/* Put a number, the smallest byte first. */
static void put_little(Packed *packed, unsigned long long number, int size) {
    unsigned char bytes[8];
    for (int byte = 0; byte < size; byte++) bytes[byte] = (unsigned char)(number >> 8 * byte);
    put(packed, bytes, size);
}

/* What follows is msgpack, each thing in its shortest form. */

static void pack_number(Packed *packed, unsigned long long number) {
    if (number < 0x80)
        put_marked(packed, (unsigned char)number, 0, 0);
    else if (number <= 0xFF)
        put_marked(packed, 0xCC, number, 1);
    else if (number <= 0xFFFF)
        put_marked(packed, 0xCD, number, 2);
    else if (number <= 0xFFFFFFFF)
        put_marked(packed, 0xCE, number, 4);
    else
        put_marked(packed, 0xCF, number, 8);
}

static int pack_text(Packed *packed, PyObject *text) {
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size);
    if (bytes == NULL) return -1;
    if (size < 32)
        put_marked(packed, (unsigned char)(0xA0 | size), 0, 0);
    else if (size <= 0xFF)
        put_marked(packed, 0xD9, size, 1);
    else
        put_marked(packed, 0xDA, size, 2); /* no longer one fits */
    put(packed, bytes, size);
    return 0;
}

/* Pack a number, a text or a list of those; return 0 where it is something else, -1 with an error. */
static int pack(Packed *packed, PyObject *given, int depth) {
    long long number = number_of(given);
    if (number >= 0) {
        pack_number(packed, number);
        return 1;
    }
    if (PyUnicode_CheckExact(given)) return pack_text(packed, given) < 0 ? -1 : 1;
    if (!PyList_CheckExact(given) || depth == DEEPEST) return 0;
    Py_ssize_t size = PyList_GET_SIZE(given);
    if (size < 16)
        put_marked(packed, (unsigned char)(0x90 | size), 0, 0);
    else
        put_marked(packed, 0xDC, size, 2);
    int done = size < MOST_BYTES;
    for (Py_ssize_t place = 0; done > 0 && !packed->full && place < size; place++)
        done = pack(packed, PyList_GET_ITEM(given, place), depth + 1);
    return done;
}

/* Pack a settlement in its short form; return 0 where it has none. */
static int pack_settlement(Events *self, Packed *packed, PyObject *event) {
    long long numbers[4], most = 0xFFFFFFFF;
    if (PyList_GET_SIZE(event) != 5) return 0;
    for (int place = 0; place < 4; place++)
        if ((numbers[place] = number_of(PyList_GET_ITEM(event, 1 + place))) < 0) return 0;
    long long count = numbers[2] - numbers[1];
    if (numbers[0] > most || count < 0 || count > most) return 0;
    put(packed, &self->mark, 1);
    put_little(packed, numbers[0], 4);
    put_little(packed, numbers[1], 8);
    put_little(packed, count, 4);
    put_little(packed, numbers[3], 8);
    return 1;
}

static int is_text(PyObject *given, PyObject *text) {
    return given == text || (PyUnicode_CheckExact(given) && PyUnicode_Compare(given, text) == 0);
}

/* Pack an event; return 0 where Python has to. */
static int pack_event(Events *self, Packed *packed, PyObject *entry) {
    if (!PyTuple_CheckExact(entry) || PyTuple_GET_SIZE(entry) != 2) return 0;
    PyObject *section = PyTuple_GET_ITEM(entry, 0), *event = PyTuple_GET_ITEM(entry, 1);
    if (!PyUnicode_CheckExact(section) || !PyList_CheckExact(event) || PyList_GET_SIZE(event) == 0) return 0;
    if (is_text(PyList_GET_ITEM(event, 0), self->settle) && is_text(section, self->cursors))
        return pack_settlement(self, packed, event);
    put_marked(packed, 0x92, 0, 0); /* a list of two */
    int done = pack(packed, section, 0);
    return done > 0 ? pack(packed, event, 0) : done;
}

/* Return events as one body: even ones stand alone, before uneven ones stand their lengths. */
static PyObject *body_of(Events *self, const Packed *packed, const Py_ssize_t *lengths, Py_ssize_t count,
                         PyObject *now_ms) {
    Py_ssize_t before = 0;
    for (Py_ssize_t place = 1; place < count; place++)
        if (lengths[place] != lengths[0]) before = LENGTH_SIZE * count;
    PyObject *data = PyBytes_FromStringAndSize(NULL, before + packed->size);
    PyObject *number = PyLong_FromSsize_t(count), *size = PyLong_FromSsize_t(packed->size), *body = NULL;
    if (data != NULL && number != NULL && size != NULL) body = self->body_type->tp_alloc(self->body_type, 0);
    if (body != NULL) {
        char *at = PyBytes_AS_STRING(data);
        for (Py_ssize_t place = 0; before > 0 && place < count; place++)
            for (int byte = 0; byte < LENGTH_SIZE; byte++) *at++ = (char)(lengths[place] >> 8 * byte);
        memcpy(at, packed->bytes, packed->size);
        SLOT(body, body_slot.data) = Py_NewRef(data);
        SLOT(body, body_slot.count) = Py_NewRef(number);
        SLOT(body, body_slot.span) = Py_NewRef(number);
        SLOT(body, body_slot.kind) = Py_NewRef(before > 0 ? self->kind_uneven : self->kind_plain);
        SLOT(body, body_slot.timestamp_ms) = Py_NewRef(now_ms);
        SLOT(body, body_slot.max_timestamp_ms) = Py_NewRef(now_ms);
        SLOT(body, body_slot.value_bytes) = Py_NewRef(size);
    }
    Py_XDECREF(data);
    Py_XDECREF(number);
    Py_XDECREF(size);
    return body;
}

/* Return the batches of a commit with that of its events behind them. */
static PyObject *with_events(Events *self, PyObject *commit, const Packed *packed, const Py_ssize_t *lengths,
                             Py_ssize_t count) {
    PyObject *streams = SLOT(self->engine, engine_slot.streams), *clock = SLOT(self->engine, engine_slot.clock);
    PyObject *now_ms = PyObject_CallMethodNoArgs(clock, text_now_ms), *all = NULL;
    PyObject *stream = now_ms == NULL ? NULL : PyObject_GetItem(streams, self->state);
    PyObject *body = stream == NULL ? NULL : body_of(self, packed, lengths, count, now_ms);
    PyObject *pair = body == NULL ? NULL : PyTuple_Pack(2, stream, body);
    if (pair != NULL) all = PyList_GetSlice(SLOT(commit, commit_slot.bodies), 0, PY_SSIZE_T_MAX);
    if (all != NULL && PyList_Append(all, pair) < 0) Py_CLEAR(all);
    Py_XDECREF(now_ms);
    Py_XDECREF(stream);
    Py_XDECREF(body);
    Py_XDECREF(pair);
    return all;
}

/* bodies_of(commit) */
static PyObject *bodies_of(Events *self, PyObject *commit) {
    if (!Py_IS_TYPE(commit, self->commit_type) || !holds(commit, commit_slot.bodies, &PyList_Type)
        || !holds(commit, commit_slot.events, &PyList_Type))
        return PyObject_CallOneArg(self->python, commit);
    PyObject *events = SLOT(commit, commit_slot.events);
    Py_ssize_t count = PyList_GET_SIZE(events), lengths[MOST_EVENTS];
    Packed packed;
    packed.size = packed.full = 0;
    int done = count > 0 && count <= MOST_EVENTS && SLOT(self->engine, engine_slot.streams) != NULL
        && SLOT(self->engine, engine_slot.clock) != NULL;
    for (Py_ssize_t place = 0; done > 0 && !packed.full && place < count; place++) {
        Py_ssize_t before = packed.size;
        done = pack_event(self, &packed, PyList_GET_ITEM(events, place));
        lengths[place] = packed.size - before;
    }
    if (done > 0 && !packed.full) return with_events(self, commit, &packed, lengths, count);
    PyErr_Clear(); /* of a text that is none: Python tells */
    return PyObject_CallOneArg(self->python, commit);
}

static int events_traverse(Events *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->engine);
    Py_VISIT(self->python);
    Py_VISIT(self->commit_type);
    Py_VISIT(self->body_type);
    return 0;
}

static void events_dealloc(Events *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject *held[] = {self->engine,
                        self->python,
                        self->state,
                        (PyObject *)self->commit_type,
                        (PyObject *)self->body_type,
                        self->cursors,
                        self->settle,
                        self->kind_plain,
                        self->kind_uneven};
    for (size_t place = 0; place < sizeof held / sizeof *held; place++) Py_XDECREF(held[place]);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Events(writer's method, engine, number of the stream of events, commit type, body type, section and kind of a
   settlement, mark of its short form, kinds of even and uneven records without keys) */
static PyObject *events_new(PyTypeObject *type, PyObject *args, PyObject *options) {
    PyObject *python, *engine, *state, *commit_type, *body_type, *cursors, *settle, *kind_plain, *kind_uneven;
    unsigned char mark;
    if (options != NULL && PyDict_GET_SIZE(options) > 0) return PyErr_Format(PyExc_TypeError, "no keywords here");
    if (!PyArg_ParseTuple(args, "OOOO!O!UUbOO", &python, &engine, &state, &PyType_Type, &commit_type, &PyType_Type,
                          &body_type, &cursors, &settle, &mark, &kind_plain, &kind_uneven))
        return NULL;
    if (find_slots(Py_TYPE(engine), (PyTypeObject *)commit_type, (PyTypeObject *)body_type) != 0) return NULL;
    Events *self = (Events *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->python = Py_NewRef(python);
    self->engine = Py_NewRef(engine);
    self->state = Py_NewRef(state);
    self->commit_type = (PyTypeObject *)Py_NewRef(commit_type);
    self->body_type = (PyTypeObject *)Py_NewRef(body_type);
    self->cursors = Py_NewRef(cursors);
    self->settle = Py_NewRef(settle);
    self->kind_plain = Py_NewRef(kind_plain);
    self->kind_uneven = Py_NewRef(kind_uneven);
    self->mark = mark;
    return (PyObject *)self;
}

static PyMethodDef events_methods[] = {{"bodies_of", (PyCFunction)bodies_of, METH_O, NULL}, {NULL}};

static PyType_Slot events_slots[] = {
    {Py_tp_new, events_new},
    {Py_tp_dealloc, events_dealloc},
    {Py_tp_traverse, events_traverse},
    {Py_tp_methods, events_methods},
    {0, NULL},
};

static PyType_Spec events_spec = {
    .name = "msglog.storage._compiled_events.Events",
    .basicsize = sizeof(Events),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = events_slots,
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled_events", .m_size = -1};

PyMODINIT_FUNC PyInit__compiled_events(void) {
    text_now_ms = PyUnicode_InternFromString("now_ms");
    PyObject *made = PyModule_Create(&module), *type = PyType_FromSpec(&events_spec);
    if (!text_now_ms || !made || !type || PyModule_AddObjectRef(made, "Events", type) < 0
        || PyModule_AddIntConstant(made, "SOURCE_CRC", SOURCE_CRC) < 0)
        Py_CLEAR(made);
    Py_XDECREF(type);
    return made;
}
