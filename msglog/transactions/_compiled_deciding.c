/* Deciding in C: what `BrokerStage.decide`, `LogStage.fill` and `BrokerStage.fill` do for nearly every transaction.

   They leave the same state as the Python methods, which stand in both models' staging.py, in batch.py, settling.py and
   coordination.py and say what is done and why. Here are plain messages whose routes hold, acknowledgements of
   deliveries in hand, records that were packed when they were taken in, and offsets of groups without members. Whatever
   else comes up is left to the Python method, before anything was changed.

   What is changed here is new and known to nobody else: a batch, what it settles, a commit; stages get them when they
   are complete. So what fails leaves nothing behind.

   Imported by compiled.py. */

#include "_compiled_records.h"

static struct {
    PyTypeObject *type;
    Py_ssize_t _batch, _cut, _settled, _settlements, _vhost, _wishes;
} BrokerStage;
static struct {
    PyTypeObject *type;
    Py_ssize_t _appends, _events, _offsets, _outcomes, _placed, _producer, _settlements;
} LogStage;
static struct {
    PyTypeObject *type;
    Py_ssize_t closed, readonly;
} Engine;
static struct {
    PyTypeObject *type;
    Py_ssize_t _ends, bodies, events;
} Commit;
static struct {
    PyTypeObject *type;
    Py_ssize_t id, end, next_offset;
} Stream;
static struct {
    PyTypeObject *type;
    Py_ssize_t deleted, id, partitions;
} Topic;
static struct {
    PyTypeObject *type;
    Py_ssize_t pieces, plain, topic;
} Records; /* the log's batch */
static struct {
    PyTypeObject *type;
    Py_ssize_t _bases, _delayed, _engine, _entries, _events, _now_ms, delayed_at, expiring, removed, replies;
} Batch; /* the broker's */
static struct {
    PyTypeObject *type;
    Py_ssize_t _gone, _offsets, _returning, _vhost;
} Settled;
static struct {
    PyTypeObject *type;
    Py_ssize_t news, now_ms;
} Vhost;
static struct {
    PyTypeObject *type;
    Py_ssize_t version;
} Model;
static struct {
    PyTypeObject *type;
    Py_ssize_t lanes, meta, pushed, version;
} Route;
static struct {
    PyTypeObject *type;
    Py_ssize_t cursor, stream;
} Lane;
static struct {
    PyTypeObject *type;
    Py_ssize_t id, next, unsettled;
} Cursor;
static struct {
    PyTypeObject *type;
    Py_ssize_t queue;
} Subscriber;
static struct {
    PyTypeObject *type;
    Py_ssize_t deleted;
} Queue;

static int find_slots(void) {
    return FIND(BrokerStage, _batch) || FIND(BrokerStage, _cut) || FIND(BrokerStage, _settled)
        || FIND(BrokerStage, _settlements) || FIND(BrokerStage, _vhost) || FIND(BrokerStage, _wishes)
        || FIND(LogStage, _appends) || FIND(LogStage, _events) || FIND(LogStage, _offsets) || FIND(LogStage, _outcomes)
        || FIND(LogStage, _placed) || FIND(LogStage, _producer) || FIND(LogStage, _settlements) || FIND(Engine, closed)
        || FIND(Engine, readonly) || FIND(Commit, _ends) || FIND(Commit, bodies) || FIND(Commit, events)
        || FIND(Stream, id) || FIND(Stream, end) || FIND(Stream, next_offset) || FIND(Topic, deleted) || FIND(Topic, id)
        || FIND(Topic, partitions) || FIND(Records, pieces) || FIND(Records, plain) || FIND(Records, topic)
        || FIND(Batch, _bases) || FIND(Batch, _delayed) || FIND(Batch, _engine) || FIND(Batch, _entries)
        || FIND(Batch, _events) || FIND(Batch, _now_ms) || FIND(Batch, delayed_at) || FIND(Batch, expiring)
        || FIND(Batch, removed) || FIND(Batch, replies) || FIND(Settled, _gone) || FIND(Settled, _offsets)
        || FIND(Settled, _returning) || FIND(Settled, _vhost) || FIND(Vhost, news) || FIND(Vhost, now_ms)
        || FIND(Model, version) || FIND(Route, lanes) || FIND(Route, meta) || FIND(Route, pushed)
        || FIND(Route, version) || FIND(Lane, cursor) || FIND(Lane, stream) || FIND(Cursor, id) || FIND(Cursor, next)
        || FIND(Cursor, unsettled) || FIND(Subscriber, queue) || FIND(Queue, deleted) || find_body_slots();
}

/* Tuples with names that are looked into, by class; and what else is lent by `set_up`. */
static PyTypeObject *way_type, *append_type, *offsets_type, *wish_type, *settlement_type, *taken_type, *stored_type,
    *partition_type, *coordination_type;
static PyObject *cursor_section, *group_section;
static PyObject *nothing; /* the empty tuple */
static PyObject *text_abandoned, *text_ack, *text_commit, *text_empty, *text_engine, *text_groups, *text_live_groups,
    *text_log, *text_make_room, *text_model, *text_pack, *text_record, *text_settle, *text_shares, *text_stage,
    *text_topics;

/* The places in those tuples. */
enum { APPEND_BATCH, APPEND_SEQUENCE };
enum { OFFSETS_COORDINATION, OFFSETS_GROUP, OFFSETS_SEAT, OFFSETS_OFFSETS };
enum { WISH_PUBLICATION, WISH_ROUTE = 4 };
enum { PUBLICATION_BODY = 2 };
enum { SETTLEMENT_SUBSCRIBER, SETTLEMENT_TAKEN, SETTLEMENT_OUTCOME };
enum { TAKEN_LANE, TAKEN_STORED };
enum { STORED_OFFSET };
enum { MOST_LANES = 64 }; /* of a batch that is packed here */

#define PART(tuple, place) PyTuple_GET_ITEM(tuple, place)

static PyObject *result_of(Outcome outcome, PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    if (outcome == FOR_PYTHON) return leave_to_python(way, args, flagged, names);
    return outcome == DONE ? Py_NewRef(Py_None) : NULL;
}

/* Add to a list what may have failed to be made; it is given up. */
static int add(PyObject *list, PyObject *item) {
    int added = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return added;
}

/* decide(self) */

/* Whether a settlement is an acknowledgement of a delivery that is still in hand; -1 with an error. */
static int is_acknowledgement(PyObject *entry) {
    if (!PyTuple_CheckExact(entry) || PyTuple_GET_SIZE(entry) != 2 || !Py_IS_TYPE(PART(entry, 1), settlement_type))
        return 0;
    PyObject *settlement = PART(entry, 1), *subscriber = PART(settlement, SETTLEMENT_SUBSCRIBER);
    PyObject *taken = PART(settlement, SETTLEMENT_TAKEN);
    if (PART(settlement, SETTLEMENT_OUTCOME) != text_ack || !PyObject_TypeCheck(subscriber, Subscriber.type)
        || !HOLDS(Subscriber, subscriber, queue, Queue.type)
        || AT(Queue, AT(Subscriber, subscriber, queue), deleted) != Py_False || !Py_IS_TYPE(taken, taken_type)
        || !Py_IS_TYPE(PART(taken, TAKEN_LANE), Lane.type) || !Py_IS_TYPE(PART(taken, TAKEN_STORED), stored_type))
        return 0;
    PyObject *lane = PART(taken, TAKEN_LANE), *offset = PART(PART(taken, TAKEN_STORED), STORED_OFFSET);
    if (!HOLDS(Lane, lane, cursor, Cursor.type) || number_of(offset) < 0) return 0;
    PyObject *cursor = AT(Lane, lane, cursor);
    if (!HOLDS(Cursor, cursor, unsettled, &PyDict_Type) || AT(Cursor, cursor, id) == NULL
        || AT(Cursor, cursor, next) == NULL)
        return 0;
    PyObject *holder = PyDict_GetItemWithError(AT(Cursor, cursor, unsettled), offset);
    return holder == NULL && PyErr_Occurred() ? -1 : holder == subscriber;
}

/* Whether a publication goes to known lanes by a route that holds. */
static int is_routed(PyObject *wish, long long version) {
    if (!Py_IS_TYPE(wish, wish_type) || !Py_IS_TYPE(PART(wish, WISH_ROUTE), Route.type)) return 0;
    PyObject *route = PART(wish, WISH_ROUTE);
    if (number_in(route, Route.version) != version || !HOLDS(Route, route, lanes, &PyTuple_Type)
        || !HOLDS(Route, route, meta, &PyBytes_Type) || !HOLDS(Route, route, pushed, &PyTuple_Type)
        || !PyTuple_Check(PART(wish, WISH_PUBLICATION)))
        return 0;
    PyObject *lanes = AT(Route, route, lanes);
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(lanes); place++)
        if (!Py_IS_TYPE(PART(lanes, place), Lane.type)) return 0;
    return 1;
}

/* Whether all that a stage is to decide is usual. */
static Outcome is_usual(PyObject *stage) {
    if (!HOLDS(BrokerStage, stage, _settlements, &PyList_Type) || !HOLDS(BrokerStage, stage, _wishes, &PyList_Type))
        return FOR_PYTHON;
    PyObject *vhost = AT(BrokerStage, stage, _vhost), *engine = PyObject_GetAttr(vhost, text_engine);
    if (engine == NULL) return FAILED;
    int writable = Py_IS_TYPE(engine, Engine.type) && AT(Engine, engine, closed) == Py_False
        && AT(Engine, engine, readonly) == Py_False;
    Py_DECREF(engine);
    if (!writable || !HOLDS(Vhost, vhost, news, &PyDict_Type)) return FOR_PYTHON;
    PyObject *model = PyObject_GetAttr(vhost, text_model);
    if (model == NULL) return FAILED;
    long long version = Py_IS_TYPE(model, Model.type) ? number_in(model, Model.version) : -1;
    Py_DECREF(model);
    PyObject *settlements = AT(BrokerStage, stage, _settlements), *wishes = AT(BrokerStage, stage, _wishes);
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(settlements); place++) {
        int usual = is_acknowledgement(PyList_GET_ITEM(settlements, place));
        if (usual <= 0) return usual < 0 ? FAILED : FOR_PYTHON;
    }
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(wishes); place++)
        if (version < 0 || !is_routed(PyList_GET_ITEM(wishes, place), version)) return FOR_PYTHON;
    return DONE;
}

/* Return a batch with nothing in it. */
static PyObject *new_batch(PyObject *vhost, PyObject *now_ms) {
    PyObject *engine = PyObject_GetAttr(vhost, text_engine);
    PyObject *batch = engine == NULL ? NULL : Batch.type->tp_alloc(Batch.type, 0);
    if (batch != NULL) {
        AT(Batch, batch, _engine) = Py_NewRef(engine);
        AT(Batch, batch, _now_ms) = Py_NewRef(now_ms);
        Py_ssize_t lists[] = {Batch._bases,     Batch._delayed, Batch._events,
                              Batch.delayed_at, Batch.removed,  Batch.replies};
        int made = (AT(Batch, batch, _entries) = PyDict_New()) != NULL
            && (AT(Batch, batch, expiring) = PySet_New(NULL)) != NULL;
        for (int list = 0; list < 6; list++) made = made && (SLOT(batch, lists[list]) = PyList_New(0)) != NULL;
        if (!made) Py_CLEAR(batch);
    }
    Py_XDECREF(engine);
    return batch;
}

/* Return what is settled, with nothing in it. */
static PyObject *new_settled(PyObject *vhost) {
    PyObject *settled = Settled.type->tp_alloc(Settled.type, 0);
    if (settled == NULL) return NULL;
    AT(Settled, settled, _vhost) = Py_NewRef(vhost);
    if (!(AT(Settled, settled, _gone) = PyList_New(0)) || !(AT(Settled, settled, _offsets) = PyDict_New())
        || !(AT(Settled, settled, _returning) = PyList_New(0)))
        Py_CLEAR(settled);
    return settled;
}

/* Add an item to the list that a dictionary has for a key, which is a new one at first. */
static int add_under(PyObject *lists, PyObject *key, PyObject *item) {
    PyObject *list = PyDict_GetItemWithError(lists, key);
    if (list != NULL) return PyList_Append(list, item);
    if (PyErr_Occurred() || (list = list_of(item)) == NULL) return -1;
    int added = PyDict_SetItem(lists, key, list);
    Py_DECREF(list);
    return added;
}

/* Note what is settled. */
static int settle_all(PyObject *settled, PyObject *settlements) {
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(settlements); place++) {
        PyObject *settlement = PART(PyList_GET_ITEM(settlements, place), 1),
                 *taken = PART(settlement, SETTLEMENT_TAKEN);
        if (add(AT(Settled, settled, _gone), PyTuple_Pack(2, PART(settlement, SETTLEMENT_SUBSCRIBER), taken)) < 0
            || add_under(AT(Settled, settled, _offsets), PART(taken, TAKEN_LANE),
                         PART(PART(taken, TAKEN_STORED), STORED_OFFSET))
                < 0)
            return -1;
    }
    return 0;
}

/* Return the event that an offset of a lane is settled. */
static PyObject *settlement_event(PyObject *lane, PyObject *offset) {
    PyObject *cursor = AT(Lane, lane, cursor), *end = PyLong_FromLongLong(number_of(offset) + 1), *event = NULL;
    PyObject *settle = end == NULL ? NULL : PyList_New(5);
    if (settle != NULL) {
        PyObject *fields[] = {text_settle, AT(Cursor, cursor, id), offset, end, AT(Cursor, cursor, next)};
        for (int field = 0; field < 5; field++) PyList_SET_ITEM(settle, field, Py_NewRef(fields[field]));
        event = PyTuple_Pack(2, cursor_section, settle);
    }
    Py_XDECREF(end);
    Py_XDECREF(settle);
    return event;
}

/* Add the events to the batch; Python joins the neighbours where a lane has several offsets. */
static int record_all(PyObject *settled, PyObject *batch) {
    PyObject *lane, *offsets;
    for (Py_ssize_t place = 0; PyDict_Next(AT(Settled, settled, _offsets), &place, &lane, &offsets);)
        if (PyList_GET_SIZE(offsets) != 1) {
            PyObject *none = PyObject_CallMethodOneArg(settled, text_record, batch);
            Py_XDECREF(none);
            return none == NULL ? -1 : 0;
        }
    for (Py_ssize_t place = 0; PyDict_Next(AT(Settled, settled, _offsets), &place, &lane, &offsets);)
        if (add(AT(Batch, batch, _events), settlement_event(lane, PyList_GET_ITEM(offsets, 0))) < 0) return -1;
    return 0;
}

/* Add the messages to the batch. */
static int route_all(PyObject *batch, PyObject *wishes) {
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(wishes); place++) {
        PyObject *wish = PyList_GET_ITEM(wishes, place), *route = PART(wish, WISH_ROUTE),
                 *lanes = AT(Route, route, lanes);
        PyObject *entry = PyTuple_Pack(2, AT(Route, route, meta), PART(PART(wish, WISH_PUBLICATION), PUBLICATION_BODY));
        int added = entry == NULL ? -1 : 0;
        for (Py_ssize_t lane = 0; added == 0 && lane < PyTuple_GET_SIZE(lanes); lane++)
            added = add_under(AT(Batch, batch, _entries), PART(lanes, lane), entry);
        Py_XDECREF(entry);
        if (added < 0) return -1;
    }
    return 0;
}

/* Have the queues looked after that messages are pushed from, and make room where there is news of any. */
static int tell_news(PyObject *stage, PyObject *batch) {
    PyObject *news = AT(Vhost, AT(BrokerStage, stage, _vhost), news), *wishes = AT(BrokerStage, stage, _wishes);
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(wishes); place++) {
        PyObject *pushed = AT(Route, PART(PyList_GET_ITEM(wishes, place), WISH_ROUTE), pushed);
        for (Py_ssize_t queue = 0; queue < PyTuple_GET_SIZE(pushed); queue++)
            if (PyDict_SetItem(news, PART(pushed, queue), Py_None) < 0) return -1;
    }
    if (PyDict_GET_SIZE(news) == 0) return 0;
    PyObject *none = PyObject_CallMethodOneArg(stage, text_make_room, batch);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static Outcome decide_at(PyObject *stage, PyObject *now_ms) {
    Outcome outcome = is_usual(stage);
    if (outcome != DONE) return outcome;
    PyObject *vhost = AT(BrokerStage, stage, _vhost), *batch = new_batch(vhost, now_ms);
    PyObject *settled = batch == NULL ? NULL : new_settled(vhost);
    if (settled == NULL || settle_all(settled, AT(BrokerStage, stage, _settlements)) < 0
        || record_all(settled, batch) < 0 || route_all(batch, AT(BrokerStage, stage, _wishes)) < 0)
        outcome = FAILED;
    if (outcome == DONE) {
        Py_XSETREF(AT(BrokerStage, stage, _batch), Py_NewRef(batch));
        Py_XSETREF(AT(BrokerStage, stage, _settled), Py_NewRef(settled));
        Py_XSETREF(AT(BrokerStage, stage, _cut), Py_NewRef(nothing));
        if (tell_news(stage, batch) < 0) outcome = FAILED;
    }
    Py_XDECREF(batch);
    Py_XDECREF(settled);
    return outcome;
}

static Outcome decide_here(PyObject *stage) {
    if (!HOLDS(BrokerStage, stage, _vhost, Vhost.type)) return FOR_PYTHON;
    PyObject *vhost = AT(BrokerStage, stage, _vhost);
    if (AT(Vhost, vhost, now_ms) == NULL) return FOR_PYTHON;
    PyObject *now_ms = PyObject_CallNoArgs(AT(Vhost, vhost, now_ms)); /* first: it may run other code */
    if (now_ms == NULL) return FAILED;
    Outcome outcome = decide_at(stage, now_ms);
    Py_DECREF(now_ms);
    return outcome;
}

static PyObject *decide(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    Outcome outcome = FOR_PYTHON;
    if (PyVectorcall_NARGS(flagged) == 1 && names == NULL && Py_IS_TYPE(args[0], BrokerStage.type))
        outcome = decide_here(args[0]);
    return result_of(outcome, way, args, flagged, names);
}

/* What both `fill` share: adding to a commit, as `Commit.append` does. */

/* Whether something is a commit, and of a kind that can be added to here. */
static int is_commit(PyObject *commit) {
    return Py_IS_TYPE(commit, Commit.type) && HOLDS(Commit, commit, _ends, &PyDict_Type)
        && HOLDS(Commit, commit, bodies, &PyList_Type) && HOLDS(Commit, commit, events, &PyList_Type);
}

/* Whether a stream has an id and an offset. */
static int is_stream(PyObject *stream) {
    return Py_IS_TYPE(stream, Stream.type) && HOLDS(Stream, stream, id, &PyLong_Type)
        && number_in(stream, Stream.next_offset) >= 0;
}

/* Add the body of one record; return its offset. */
static PyObject *append_one(PyObject *commit, PyObject *stream, PyObject *body) {
    PyObject *ends = AT(Commit, commit, _ends), *id = AT(Stream, stream, id);
    PyObject *offset = PyDict_GetItemWithError(ends, id);
    if (offset == NULL && PyErr_Occurred()) return NULL;
    offset = Py_NewRef(offset == NULL ? AT(Stream, stream, next_offset) : offset);
    PyObject *end = PyNumber_Add(offset, AT(Body, body, span));
    int added = end == NULL ? -1 : PyDict_SetItem(ends, id, end);
    if (added == 0) added = add(AT(Commit, commit, bodies), PyTuple_Pack(2, stream, body));
    Py_XDECREF(end);
    if (added < 0) Py_CLEAR(offset);
    return offset;
}

/* LogStage.fill(self, commit) */

/* Whether a record that was taken in is packed, and may be written as it is. */
static int is_ready(PyObject *entry) {
    if (!Py_IS_TYPE(entry, append_type) || !Py_IS_TYPE(PART(entry, APPEND_BATCH), Records.type)) return 0;
    PyObject *records = PART(entry, APPEND_BATCH);
    if (AT(Records, records, plain) != Py_True || !HOLDS(Records, records, topic, Topic.type)
        || !HOLDS(Records, records, pieces, &PyList_Type) || PyList_GET_SIZE(AT(Records, records, pieces)) != 1)
        return 0;
    PyObject *topic = AT(Records, records, topic), *piece = PyList_GET_ITEM(AT(Records, records, pieces), 0);
    if (AT(Topic, topic, deleted) != Py_False || !HOLDS(Topic, topic, partitions, &PyList_Type)
        || !PyTuple_CheckExact(piece) || PyTuple_GET_SIZE(piece) != 2 || !Py_IS_TYPE(PART(piece, 1), Body.type)
        || !HOLDS(Body, PART(piece, 1), span, &PyLong_Type))
        return 0;
    PyObject *partitions = AT(Topic, topic, partitions);
    long long number = number_of(PART(piece, 0));
    return number >= 0 && number < PyList_GET_SIZE(partitions) && is_stream(PyList_GET_ITEM(partitions, number));
}

/* Add a record; return where it is: its batch, and its offset under its partition. */
static PyObject *place_records(PyObject *commit, PyObject *records) {
    PyObject *piece = PyList_GET_ITEM(AT(Records, records, pieces), 0), *number = PART(piece, 0), *placed = NULL;
    PyObject *stream = PyList_GET_ITEM(AT(Topic, AT(Records, records, topic), partitions), number_of(number));
    PyObject *offset = append_one(commit, stream, PART(piece, 1));
    PyObject *end = offset == NULL ? NULL : PyNumber_Add(offset, one);
    PyObject *offsets = end == NULL ? NULL : PyObject_CallFunctionObjArgs((PyObject *)&PyRange_Type, offset, end, NULL);
    PyObject *partitions = offsets == NULL ? NULL : PyDict_New();
    if (partitions != NULL && PyDict_SetItem(partitions, number, offsets) == 0)
        placed = PyTuple_Pack(2, records, partitions);
    Py_XDECREF(offset);
    Py_XDECREF(end);
    Py_XDECREF(offsets);
    Py_XDECREF(partitions);
    return placed;
}

/* Whether a group is known to nobody but by its offsets: it has no members, and shares nothing. */
static Outcome stands_alone(PyObject *coordination, PyObject *group) {
    PyObject *abandoned = PyObject_GetAttr(coordination, text_abandoned);
    PyObject *empty = abandoned == NULL ? NULL : PyObject_CallMethodNoArgs(abandoned, text_empty);
    PyObject *live = empty == NULL ? NULL : PyObject_GetAttr(coordination, text_live_groups);
    PyObject *shares = live == NULL ? NULL : PyObject_GetAttr(coordination, text_shares);
    PyObject *shared = shares == NULL ? NULL : PyObject_GetAttr(shares, text_groups);
    Outcome outcome = FAILED;
    if (shared != NULL) {
        outcome = FOR_PYTHON;
        if (empty == Py_True && PyDict_CheckExact(live) && PyDict_CheckExact(shared)) {
            int known = PyDict_Contains(live, group);
            if (known == 0) known = PyDict_Contains(shared, group);
            outcome = known < 0 ? FAILED : known ? FOR_PYTHON : DONE;
        }
    }
    Py_XDECREF(abandoned);
    Py_XDECREF(empty);
    Py_XDECREF(live);
    Py_XDECREF(shares);
    Py_XDECREF(shared);
    return outcome;
}

/* Return the topics that a group's coordination knows. */
static PyObject *topics_of(PyObject *coordination) {
    PyObject *log = PyObject_GetAttr(coordination, text_log);
    PyObject *topics = log == NULL ? NULL : PyObject_GetAttr(log, text_topics);
    Py_XDECREF(log);
    return topics;
}

/* Return an offset as it stands in the event: topic, partition, offset; NULL with an error or for Python. */
static PyObject *committed_offset(PyObject *topics, PyObject *partition, PyObject *offset) {
    if (!PyDict_CheckExact(topics) || !Py_IS_TYPE(partition, partition_type)) return NULL;
    PyObject *topic = PyDict_GetItemWithError(topics, PART(partition, 0));
    if (topic == NULL || !Py_IS_TYPE(topic, Topic.type) || !HOLDS(Topic, topic, partitions, &PyList_Type)
        || !HOLDS(Topic, topic, id, &PyLong_Type))
        return NULL;
    long long number = number_of(PART(partition, 1)), given = number_of(offset);
    PyObject *partitions = AT(Topic, topic, partitions);
    if (number < 0 || number >= PyList_GET_SIZE(partitions)
        || !Py_IS_TYPE(PyList_GET_ITEM(partitions, number), Stream.type) || given < 0
        || given > number_in(PyList_GET_ITEM(partitions, number), Stream.end))
        return NULL;
    PyObject *fields[] = {AT(Topic, topic, id), PART(partition, 1), offset}, *found = PyList_New(3);
    for (int field = 0; found != NULL && field < 3; field++) PyList_SET_ITEM(found, field, Py_NewRef(fields[field]));
    return found;
}

/* Return a group's offsets as they stand in the event; NULL with an error or for Python. */
static PyObject *committed_offsets(PyObject *topics, PyObject *offsets) {
    PyObject *committed = PyList_New(0), *partition, *offset;
    for (Py_ssize_t place = 0; committed != NULL && PyDict_Next(offsets, &place, &partition, &offset);) {
        PyObject *one_offset = committed_offset(topics, partition, offset);
        if (one_offset == NULL || add(committed, one_offset) < 0) Py_CLEAR(committed);
    }
    return committed;
}

/* Make offsets part of a commit, as `Coordination.stage` does. */
static Outcome stage_offsets(PyObject *commit, PyObject *staged) {
    PyObject *coordination = PART(staged, OFFSETS_COORDINATION), *group = PART(staged, OFFSETS_GROUP);
    if (PART(staged, OFFSETS_SEAT) != Py_None || !Py_IS_TYPE(coordination, coordination_type)
        || !PyUnicode_CheckExact(group) || !PyDict_CheckExact(PART(staged, OFFSETS_OFFSETS)))
        return FOR_PYTHON;
    Outcome outcome = stands_alone(coordination, group);
    if (outcome != DONE) return outcome;
    PyObject *topics = topics_of(coordination), *event = NULL;
    PyObject *committed = topics == NULL ? NULL : committed_offsets(topics, PART(staged, OFFSETS_OFFSETS));
    Py_XDECREF(topics);
    if (committed == NULL) return PyErr_Occurred() ? FAILED : FOR_PYTHON;
    PyObject *fields[] = {text_commit, group, committed}, *change = PyList_New(3);
    for (int field = 0; change != NULL && field < 3; field++) PyList_SET_ITEM(change, field, Py_NewRef(fields[field]));
    if (change != NULL) event = PyTuple_Pack(2, group_section, change);
    Py_DECREF(committed);
    Py_XDECREF(change);
    return add(AT(Commit, commit, events), event) < 0 ? FAILED : DONE;
}

/* Do so here, or by the method of Python. */
static int stage_here_or_there(PyObject *commit, PyObject *staged) {
    Outcome outcome = stage_offsets(commit, staged);
    if (outcome != FOR_PYTHON) return outcome == DONE ? 0 : -1;
    PyObject *arguments[] = {PART(staged, OFFSETS_COORDINATION), commit, PART(staged, OFFSETS_GROUP),
                             PART(staged, OFFSETS_SEAT), PART(staged, OFFSETS_OFFSETS)};
    PyObject *none = PyObject_VectorcallMethod(text_stage, arguments, 5, NULL);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static Outcome fill_log_here(PyObject *stage, PyObject *commit) {
    if (!HOLDS(LogStage, stage, _settlements, &PyList_Type) || AT(LogStage, stage, _producer) != Py_None
        || PyList_GET_SIZE(AT(LogStage, stage, _settlements)) > 0 || !HOLDS(LogStage, stage, _appends, &PyList_Type)
        || !HOLDS(LogStage, stage, _offsets, &PyList_Type) || !is_commit(commit))
        return FOR_PYTHON;
    PyObject *appends = AT(LogStage, stage, _appends), *offsets = AT(LogStage, stage, _offsets);
    for (Py_ssize_t number = 0; number < PyList_GET_SIZE(appends); number++)
        if (!is_ready(PyList_GET_ITEM(appends, number))) return FOR_PYTHON;
    for (Py_ssize_t number = 0; number < PyList_GET_SIZE(offsets); number++)
        if (!Py_IS_TYPE(PyList_GET_ITEM(offsets, number), offsets_type)) return FOR_PYTHON;
    PyObject *all = PyList_New(0);
    if (all == NULL) return FAILED;
    int failed = 0;
    for (Py_ssize_t number = 0; !failed && number < PyList_GET_SIZE(appends); number++)
        failed = add(all, place_records(commit, PART(PyList_GET_ITEM(appends, number), APPEND_BATCH)));
    if (!failed) {
        Py_XSETREF(AT(LogStage, stage, _events), Py_NewRef(nothing));
        Py_XSETREF(AT(LogStage, stage, _placed), Py_NewRef(all));
        Py_XSETREF(AT(LogStage, stage, _outcomes), Py_NewRef(all));
    }
    Py_DECREF(all);
    for (Py_ssize_t number = 0; !failed && number < PyList_GET_SIZE(offsets); number++)
        failed = stage_here_or_there(commit, PyList_GET_ITEM(offsets, number));
    return failed ? FAILED : DONE;
}

static PyObject *fill_log(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    Outcome outcome = FOR_PYTHON;
    if (PyVectorcall_NARGS(flagged) == 2 && names == NULL && Py_IS_TYPE(args[0], LogStage.type))
        outcome = fill_log_here(args[0], args[1]);
    return result_of(outcome, way, args, flagged, names);
}

/* BrokerStage.fill(self, commit) */

/* Whether a batch has nothing but messages for lanes, and events. */
static int is_plain(PyObject *batch) {
    if (!HOLDS(Batch, batch, _delayed, &PyList_Type) || PyList_GET_SIZE(AT(Batch, batch, _delayed)) > 0
        || !HOLDS(Batch, batch, removed, &PyList_Type) || PyList_GET_SIZE(AT(Batch, batch, removed)) > 0
        || !HOLDS(Batch, batch, _events, &PyList_Type) || !HOLDS(Batch, batch, _entries, &PyDict_Type)
        || !HOLDS(Batch, batch, _now_ms, &PyLong_Type) || PyDict_GET_SIZE(AT(Batch, batch, _entries)) > MOST_LANES)
        return 0;
    PyObject *lane, *added;
    for (Py_ssize_t at = 0; PyDict_Next(AT(Batch, batch, _entries), &at, &lane, &added);) {
        if (!Py_IS_TYPE(lane, Lane.type) || AT(Lane, lane, stream) == NULL || !is_stream(AT(Lane, lane, stream))
            || !PyList_CheckExact(added))
            return 0;
        if (PyList_GET_SIZE(added) != 1) continue;
        PyObject *entry = PyList_GET_ITEM(added, 0);
        if (!PyTuple_CheckExact(entry) || PyTuple_GET_SIZE(entry) != 2 || !PyBytes_CheckExact(PART(entry, 0))
            || !PyBytes_CheckExact(PART(entry, 1)))
            return 0;
    }
    return 1;
}

/* A message that was packed, and what it was packed to. */
typedef struct {
    PyObject *entry, *body;
} Packed;

/* Return a message packed: copies for several queues are one body. `known` are those before it. */
static PyObject *pack_message(PyObject *entry, PyObject *now_ms, Packed *known, Py_ssize_t *count) {
    for (Py_ssize_t number = *count; number-- > 0;)
        if (PART(known[number].entry, 0) == PART(entry, 0) && PART(known[number].entry, 1) == PART(entry, 1))
            return Py_NewRef(known[number].body);
    PyObject *body = pack_one(PART(entry, 1), PART(entry, 0), now_ms);
    if (body != NULL) known[(*count)++] = (Packed){entry, body}; /* as long as the commit has it */
    return body;
}

/* Add what a lane gets; note its offset. */
static int fill_lane(PyObject *batch, PyObject *commit, PyObject *bases, PyObject *lane, PyObject *added, Packed *known,
                     Py_ssize_t *count) {
    PyObject *body = PyList_GET_SIZE(added) == 1
        ? pack_message(PyList_GET_ITEM(added, 0), AT(Batch, batch, _now_ms), known, count)
        : PyObject_CallMethodOneArg(batch, text_pack, added);
    if (body == NULL) return -1;
    PyObject *offset = append_one(commit, AT(Lane, lane, stream), body);
    int noted = offset == NULL ? -1 : add(bases, PyTuple_Pack(2, lane, offset));
    Py_DECREF(body);
    Py_XDECREF(offset);
    return noted;
}

static Outcome fill_broker_here(PyObject *stage, PyObject *commit) {
    if (!HOLDS(BrokerStage, stage, _batch, Batch.type) || !is_commit(commit)
        || !is_plain(AT(BrokerStage, stage, _batch)))
        return FOR_PYTHON;
    PyObject *batch = Py_NewRef(AT(BrokerStage, stage, _batch)), *bases = PyList_New(0), *lane, *added;
    Packed known[MOST_LANES];
    Py_ssize_t count = 0;
    Outcome outcome = bases == NULL ? FAILED : DONE;
    if (outcome == DONE) Py_XSETREF(AT(Batch, batch, _bases), Py_NewRef(bases));
    for (Py_ssize_t at = 0; outcome == DONE && PyDict_Next(AT(Batch, batch, _entries), &at, &lane, &added);)
        if (fill_lane(batch, commit, bases, lane, added, known, &count) < 0) outcome = FAILED;
    if (outcome == DONE) {
        PyObject *events = AT(Commit, commit, events);
        Py_ssize_t end = PyList_GET_SIZE(events);
        if (PyList_SetSlice(events, end, end, AT(Batch, batch, _events)) < 0) outcome = FAILED;
    }
    Py_DECREF(batch);
    Py_XDECREF(bases);
    return outcome;
}

static PyObject *fill_broker(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    Outcome outcome = FOR_PYTHON;
    if (PyVectorcall_NARGS(flagged) == 2 && names == NULL && Py_IS_TYPE(args[0], BrokerStage.type))
        outcome = fill_broker_here(args[0], args[1]);
    return result_of(outcome, way, args, flagged, names);
}

/* The module */

/* set_up(classes, sections of cursors and of groups, kinds of records without key and with) */
static PyObject *set_up(PyObject *module, PyObject *args) {
    PyTypeObject **places[] = {&BrokerStage.type, &LogStage.type, &Engine.type, &Commit.type,    &Stream.type,
                               &Topic.type,       &Records.type,  &Batch.type,  &Settled.type,   &Vhost.type,
                               &Model.type,       &Route.type,    &Lane.type,   &Cursor.type,    &Subscriber.type,
                               &Queue.type,       &Body.type,     &append_type, &offsets_type,   &wish_type,
                               &settlement_type,  &taken_type,    &stored_type, &partition_type, &coordination_type};
    PyObject *classes, *given[4], **parts[] = {&cursor_section, &group_section, &kind_plain, &kind_keyed};
    if (!PyArg_ParseTuple(args, "O!OOOO", &PyTuple_Type, &classes, &given[0], &given[1], &given[2], &given[3]))
        return NULL;
    for (int number = 0; number < 4; number++) Py_XSETREF(*parts[number], Py_NewRef(given[number]));
    if (take_classes(classes, places, sizeof places / sizeof *places) != 0 || find_slots() != 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *before_decide(PyObject *module, PyObject *method) {
    return make_way(way_type, decide, method);
}

static PyObject *before_fill_of_log(PyObject *module, PyObject *method) {
    return make_way(way_type, fill_log, method);
}

static PyObject *before_fill_of_broker(PyObject *module, PyObject *method) {
    return make_way(way_type, fill_broker, method);
}

static PyMethodDef functions[] = {
    {"set_up", set_up, METH_VARARGS, NULL},
    {"before_decide", before_decide, METH_O, NULL},
    {"before_fill_of_log", before_fill_of_log, METH_O, NULL},
    {"before_fill_of_broker", before_fill_of_broker, METH_O, NULL},
    {NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled_deciding", .m_size = -1,
                             .m_methods = functions};

static int make_constants(void) {
    nothing = PyTuple_New(0);
    text_abandoned = PyUnicode_InternFromString("_abandoned");
    text_ack = PyUnicode_InternFromString("ack");
    text_commit = PyUnicode_InternFromString("commit");
    text_empty = PyUnicode_InternFromString("empty");
    text_engine = PyUnicode_InternFromString("engine");
    text_groups = PyUnicode_InternFromString("groups");
    text_live_groups = PyUnicode_InternFromString("_groups");
    text_log = PyUnicode_InternFromString("_log");
    text_make_room = PyUnicode_InternFromString("_make_room");
    text_model = PyUnicode_InternFromString("model");
    text_pack = PyUnicode_InternFromString("_pack");
    text_record = PyUnicode_InternFromString("record");
    text_settle = PyUnicode_InternFromString("settle");
    text_shares = PyUnicode_InternFromString("_shares");
    text_stage = PyUnicode_InternFromString("stage");
    text_topics = PyUnicode_InternFromString("topics");
    return nothing && text_abandoned && text_ack && text_commit && text_empty && text_engine && text_groups
        && text_live_groups && text_log && text_make_room && text_model && text_pack && text_record && text_settle
        && text_shares && text_stage && text_topics && make_record_constants();
}

PyMODINIT_FUNC PyInit__compiled_deciding(void) {
    way_type = (PyTypeObject *)PyType_FromSpec(&way_spec);
    PyObject *made = PyModule_Create(&module);
    if (!way_type || !made || !make_constants() || PyModule_AddIntConstant(made, "SOURCE_CRC", SOURCE_CRC) < 0)
        Py_CLEAR(made);
    return made;
}
