/* Collecting in C: beginning a transaction, and `append`, `publish`, `ack` and `commit_offsets`.

   They leave the same state as the Python methods, which stand in collecting.py and in both models' staging.py and say
   what is done and why. Here is only what nearly every call does: a record without options for a topic of one
   partition, a plain message whose route is known, a delivery in hand, offsets of a group by its name. Whatever else
   comes up is left to the Python method, before anything was changed.

   What makes it simple to be sure of: what can fail, or can run other Python code, comes before the first change, but
   for adding to a list, which only can fail; where two lists are added to, the first entry alone means nothing.

   Imported by compiled.py. */

#include "_compiled_records.h"

/* The classes whose objects are looked into or made, and the places of their slots. */

static struct {
    PyTypeObject *type;
    Py_ssize_t _broker, _core, _engine, _log, _over, _owner, _size, _state, _thread, _waits;
} Transaction;
static struct {
    PyTypeObject *type;
    Py_ssize_t closed, models;
} Engine;
static struct {
    PyTypeObject *type;
    Py_ssize_t _appends, _claimed, _core, _engine, _events, _model, _now_ms, _offsets, _outcomes, _placed, _producer,
        _settlements;
} LogStage;
static struct {
    PyTypeObject *type;
    Py_ssize_t _batch, _claimed, _cut, _replies, _settled, _settlements, _vhost, _wishes;
} BrokerStage;
static struct {
    PyTypeObject *type;
    Py_ssize_t keyed_limit, plain_limit, sticky;
} Topic;
static struct {
    PyTypeObject *type;
    Py_ssize_t count, digest, expected_key_offset, expected_offset, keys, pieces, places, plain, sight, timestamps,
        topic;
} Batch;
static struct {
    PyTypeObject *type;
    Py_ssize_t limit, meta, version;
} Route;
static struct {
    PyTypeObject *type;
    Py_ssize_t version;
} Model;
static struct {
    PyTypeObject *type;
    Py_ssize_t _lane, _settled, _stored, _terms, delivery_count, redelivered;
} Delivery;
static struct {
    PyTypeObject *type;
    Py_ssize_t queue, subscriber, vhost;
} Terms;
static struct {
    PyTypeObject *type;
    Py_ssize_t deleted;
} Queue;
static struct {
    PyTypeObject *type;
} Vhost;

static int find_slots(void) {
    return FIND(Transaction, _broker) || FIND(Transaction, _core) || FIND(Transaction, _engine)
        || FIND(Transaction, _log) || FIND(Transaction, _over) || FIND(Transaction, _owner) || FIND(Transaction, _size)
        || FIND(Transaction, _state) || FIND(Transaction, _thread) || FIND(Transaction, _waits) || FIND(Engine, closed)
        || FIND(Engine, models) || FIND(LogStage, _appends) || FIND(LogStage, _claimed) || FIND(LogStage, _core)
        || FIND(LogStage, _engine) || FIND(LogStage, _events) || FIND(LogStage, _model) || FIND(LogStage, _now_ms)
        || FIND(LogStage, _offsets) || FIND(LogStage, _outcomes) || FIND(LogStage, _placed) || FIND(LogStage, _producer)
        || FIND(LogStage, _settlements) || FIND(BrokerStage, _batch) || FIND(BrokerStage, _claimed)
        || FIND(BrokerStage, _cut) || FIND(BrokerStage, _replies) || FIND(BrokerStage, _settled)
        || FIND(BrokerStage, _settlements) || FIND(BrokerStage, _vhost) || FIND(BrokerStage, _wishes)
        || FIND(Topic, keyed_limit) || FIND(Topic, plain_limit) || FIND(Topic, sticky) || FIND(Batch, count)
        || FIND(Batch, digest) || FIND(Batch, expected_key_offset) || FIND(Batch, expected_offset) || FIND(Batch, keys)
        || FIND(Batch, pieces) || FIND(Batch, places) || FIND(Batch, plain) || FIND(Batch, sight)
        || FIND(Batch, timestamps) || FIND(Batch, topic) || find_body_slots() || FIND(Route, limit) || FIND(Route, meta)
        || FIND(Route, version) || FIND(Model, version) || FIND(Delivery, _lane) || FIND(Delivery, _settled)
        || FIND(Delivery, _stored) || FIND(Delivery, _terms) || FIND(Delivery, delivery_count)
        || FIND(Delivery, redelivered) || FIND(Terms, queue) || FIND(Terms, subscriber) || FIND(Terms, vhost)
        || FIND(Queue, deleted);
}

/* Tuples with names, which are made here, and what else is lent by `set_up`. */
static PyTypeObject *way_type, *append_type, *publication_type, *wish_type, *taken_type, *settlement_type,
    *partition_type, *offsets_type;
static PyObject *state_new, *state_open, *here, *modules, *persistent;
static PyObject *zero, *no_bytes, *first_place, *nothing; /* the last is the empty tuple */
static PyObject *text_ack, *text_asyncio, *text_broker, *text_clock, *text_engine, *text_get_running_loop, *text_groups,
    *text_key, *text_log, *text_model, *text_now_ms, *text_routes, *text_services, *text_thread, *text_topics;
static Py_ssize_t frame_header_size, longest_group_name;
static long long most_commit_bytes;

/* Whether no event loop runs in this thread, asked as in scope.py. */
static Outcome is_outside_of_loops(void) {
    PyObject *asyncio = PyDict_GetItemWithError(modules, text_asyncio);
    if (asyncio == NULL) return PyErr_Occurred() ? FAILED : DONE;
    Py_INCREF(asyncio);
    PyObject *loop = PyObject_CallMethodNoArgs(asyncio, text_get_running_loop);
    Py_DECREF(asyncio);
    if (loop == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return FAILED;
        PyErr_Clear(); /* another thread is just importing it */
        return FOR_PYTHON;
    }
    Py_DECREF(loop);
    return loop == Py_None ? DONE : FOR_PYTHON;
}

/* What `_check_open` asks, for a transaction whose parts are those that are known here. */
static Outcome is_open(PyObject *transaction) {
    if (!PyObject_TypeCheck(transaction, Transaction.type) || AT(Transaction, transaction, _state) != state_open
        || !HOLDS(Transaction, transaction, _engine, Engine.type)
        || AT(Engine, AT(Transaction, transaction, _engine), closed) != Py_False
        || !HOLDS(Transaction, transaction, _log, LogStage.type)
        || !HOLDS(Transaction, transaction, _size, &PyLong_Type))
        return FOR_PYTHON;
    PyObject *thread = PyObject_GetAttr(here, text_thread);
    if (thread == NULL) return FAILED;
    Py_DECREF(thread);
    return thread == AT(Transaction, transaction, _thread) ? is_outside_of_loops() : FOR_PYTHON;
}

/* Return the size of a transaction with so many bytes more, NULL where it is too large or there is no memory. */
static PyObject *size_with(PyObject *transaction, Py_ssize_t more) {
    long long size = number_in(transaction, Transaction._size);
    if (size < 0 || size + more > most_commit_bytes) return NULL;
    return PyLong_FromLongLong(size + more);
}

/* Add an entry to a stage's list, and its bytes to the size of the transaction. */
static Outcome take_in(PyObject *transaction, PyObject *list, PyObject *entry, Py_ssize_t bytes) {
    if (entry == NULL) return FAILED;
    PyObject *size = size_with(transaction, bytes);
    if (size == NULL) return PyErr_Occurred() ? FAILED : FOR_PYTHON;
    Outcome outcome = PyList_Append(list, entry) < 0 ? FAILED : DONE;
    if (outcome == DONE) set_slot(transaction, Transaction._size, size);
    Py_DECREF(size);
    return outcome;
}

static PyObject *result_of(Outcome outcome, PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    if (outcome == FOR_PYTHON) return leave_to_python(way, args, flagged, names);
    return outcome == DONE ? Py_NewRef(Py_None) : NULL;
}

/* __init__(self, core, producer), and the stages of both models */

/* Return something of a class that has nothing in its slots but new lists, and what is the same for all. */
static PyObject *new_stage(PyTypeObject *type, const Py_ssize_t *lists, int list_count, const Py_ssize_t *same,
                           PyObject *const *values, int same_count) {
    PyObject *stage = type->tp_alloc(type, 0);
    for (int place = 0; stage != NULL && place < list_count; place++)
        if ((SLOT(stage, lists[place]) = PyList_New(0)) == NULL) Py_CLEAR(stage);
    for (int place = 0; stage != NULL && place < same_count; place++)
        SLOT(stage, same[place]) = Py_NewRef(values[place]);
    return stage;
}

/* Return a stage of the log without a producer, NULL with an error or for Python. */
static PyObject *new_log_stage(PyObject *core, PyObject *engine) {
    PyObject *models = AT(Engine, engine, models);
    PyObject *model = models != NULL && PyDict_CheckExact(models) ? PyDict_GetItemWithError(models, text_log) : NULL;
    if (model == NULL) return NULL;
    Py_INCREF(model);
    PyObject *clock = PyObject_GetAttr(core, text_clock), *stage = NULL;
    PyObject *now_ms = clock == NULL ? NULL : PyObject_GetAttr(clock, text_now_ms);
    if (now_ms != NULL) {
        const Py_ssize_t lists[] = {LogStage._appends, LogStage._offsets, LogStage._claimed, LogStage._settlements};
        const Py_ssize_t same[] = {LogStage._placed, LogStage._events, LogStage._outcomes, LogStage._core,
                                   LogStage._engine, LogStage._model,  LogStage._now_ms,   LogStage._producer};
        PyObject *values[] = {nothing, nothing, nothing, core, engine, model, now_ms, Py_None};
        stage = new_stage(LogStage.type, lists, 4, same, values, 8);
    }
    Py_DECREF(model);
    Py_XDECREF(clock);
    Py_XDECREF(now_ms);
    return stage;
}

static Outcome begin_here(PyObject *transaction, PyObject *core) {
    PyObject *engine = PyObject_GetAttr(core, text_engine);
    if (engine == NULL) return FAILED;
    PyObject *stage = Py_IS_TYPE(engine, Engine.type) ? new_log_stage(core, engine) : NULL;
    Outcome outcome = stage != NULL ? DONE : PyErr_Occurred() ? FAILED : FOR_PYTHON;
    if (outcome == DONE) {
        const Py_ssize_t places[] = {Transaction._state, Transaction._waits,  Transaction._thread, Transaction._over,
                                     Transaction._core,  Transaction._engine, Transaction._log,    Transaction._broker,
                                     Transaction._owner, Transaction._size};
        PyObject *values[] = {state_new, Py_False, Py_None, Py_False, core, engine, stage, Py_None, Py_None, zero};
        for (int place = 0; place < 10; place++) Py_XSETREF(SLOT(transaction, places[place]), Py_NewRef(values[place]));
    }
    Py_DECREF(engine);
    Py_XDECREF(stage);
    return outcome;
}

static PyObject *begin(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    Outcome outcome = FOR_PYTHON;
    if (PyVectorcall_NARGS(flagged) == 3 && names == NULL && args[2] == Py_None
        && PyObject_TypeCheck(args[0], Transaction.type))
        outcome = begin_here(args[0], args[1]);
    return result_of(outcome, way, args, flagged, names);
}

/* Return a store's virtual host, NULL with an error or for Python. */
static PyObject *find_vhost(PyObject *core) {
    PyObject *services = core == NULL ? NULL : PyObject_GetAttr(core, text_services);
    if (services == NULL) return NULL;
    PyObject *found = PyDict_CheckExact(services) ? Py_XNewRef(PyDict_GetItemWithError(services, text_broker)) : NULL;
    Py_DECREF(services);
    if (found != NULL && !Py_IS_TYPE(found, Vhost.type)) Py_CLEAR(found);
    return found;
}

/* Return the broker's stage, borrowed from the transaction, which keeps it; NULL with an error or for Python. */
static PyObject *broker_stage(PyObject *transaction) {
    if (AT(Transaction, transaction, _broker) == Py_None) {
        PyObject *vhost = find_vhost(AT(Transaction, transaction, _core));
        if (vhost == NULL) return NULL;
        const Py_ssize_t lists[] = {BrokerStage._wishes, BrokerStage._claimed, BrokerStage._settlements};
        const Py_ssize_t same[] = {BrokerStage._batch, BrokerStage._settled, BrokerStage._cut, BrokerStage._replies,
                                   BrokerStage._vhost};
        PyObject *values[] = {Py_None, Py_None, nothing, nothing, vhost};
        PyObject *stage = new_stage(BrokerStage.type, lists, 3, same, values, 5);
        Py_DECREF(vhost);
        if (stage == NULL) return NULL;
        /* Unless one was made meanwhile: making it may have collected garbage, and that runs other code. */
        if (AT(Transaction, transaction, _broker) == Py_None) set_slot(transaction, Transaction._broker, stage);
        Py_DECREF(stage);
    }
    return HOLDS(Transaction, transaction, _broker, BrokerStage.type) ? AT(Transaction, transaction, _broker) : NULL;
}

/* append(self, topic, value, key=None) */

/* Return the batch of a packed record, as `plain_batch` does. */
static PyObject *batch_of(PyObject *topic, PyObject *key, PyObject *body) {
    PyObject *piece = PyTuple_Pack(2, zero, body), *pieces = piece == NULL ? NULL : list_of(piece);
    PyObject *keys = list_of(key), *places = list_of(first_place), *batch = NULL;
    if (pieces != NULL && keys != NULL && places != NULL) batch = Batch.type->tp_alloc(Batch.type, 0);
    if (batch != NULL) {
        AT(Batch, batch, topic) = Py_NewRef(topic);
        AT(Batch, batch, count) = Py_NewRef(one);
        AT(Batch, batch, pieces) = Py_NewRef(pieces);
        AT(Batch, batch, keys) = Py_NewRef(keys);
        AT(Batch, batch, places) = Py_NewRef(places);
        AT(Batch, batch, expected_offset) = Py_NewRef(Py_None);
        AT(Batch, batch, expected_key_offset) = Py_NewRef(Py_None);
        AT(Batch, batch, timestamps) = Py_NewRef(Py_None);
        AT(Batch, batch, digest) = Py_NewRef(no_bytes);
        AT(Batch, batch, sight) = Py_NewRef(Py_None);
        AT(Batch, batch, plain) = Py_NewRef(Py_True);
    }
    Py_XDECREF(piece);
    Py_XDECREF(pieces);
    Py_XDECREF(keys);
    Py_XDECREF(places);
    return batch;
}

/* Return the entry of a record in a stage's list, NULL where it cannot be made. */
static PyObject *append_of(PyObject *topic, PyObject *value, PyObject *key, PyObject *now_ms) {
    PyObject *body = pack_one(value, key, now_ms), *batch = body == NULL ? NULL : batch_of(topic, key, body);
    PyObject *fields[] = {batch, Py_None}, *entry = new_tuple(append_type, 2, fields);
    Py_XDECREF(body);
    Py_XDECREF(batch);
    return entry;
}

/* Return a topic where a record has no choice of partitions, NULL elsewhere. */
static PyObject *find_topic(PyObject *stage, PyObject *name) {
    PyObject *model = AT(LogStage, stage, _model),
             *topics = model == NULL ? NULL : PyObject_GetAttr(model, text_topics);
    if (topics == NULL) return NULL;
    PyObject *topic = PyDict_CheckExact(topics) ? PyDict_GetItemWithError(topics, name) : NULL;
    topic =
        topic != NULL && Py_IS_TYPE(topic, Topic.type) && AT(Topic, topic, sticky) == Py_None ? Py_NewRef(topic) : NULL;
    Py_DECREF(topics);
    return topic;
}

static Outcome take_record(PyObject *transaction, PyObject *name, PyObject *value, PyObject *key) {
    Outcome outcome = is_open(transaction);
    if (outcome != DONE) return outcome;
    PyObject *stage = AT(Transaction, transaction, _log), *topic = find_topic(stage, name);
    if (topic == NULL) return PyErr_Occurred() ? FAILED : FOR_PYTHON;
    Py_ssize_t size = PyBytes_GET_SIZE(value), key_size = key == Py_None ? 0 : PyBytes_GET_SIZE(key);
    if (size + key_size > number_in(topic, key == Py_None ? Topic.plain_limit : Topic.keyed_limit)
        || AT(LogStage, stage, _now_ms) == NULL || !HOLDS(LogStage, stage, _appends, &PyList_Type)) {
        Py_DECREF(topic);
        return FOR_PYTHON;
    }
    PyObject *now_ms = PyObject_CallNoArgs(AT(LogStage, stage, _now_ms)), *entry = NULL;
    outcome = now_ms == NULL ? FAILED : number_of(now_ms) < 0 ? FOR_PYTHON : DONE;
    if (outcome == DONE) {
        entry = append_of(topic, value, key, now_ms);
        Py_ssize_t bytes = frame_header_size + size + (key == Py_None ? 0 : KEY_SIZE + key_size);
        outcome = take_in(transaction, AT(LogStage, stage, _appends), entry, bytes);
    }
    Py_DECREF(topic);
    Py_XDECREF(now_ms);
    Py_XDECREF(entry);
    return outcome;
}

static PyObject *append(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    Outcome outcome = FOR_PYTHON;
    PyObject *key = Py_None;
    int usual = PyVectorcall_NARGS(flagged) == 3;
    if (usual && names != NULL && PyTuple_GET_SIZE(names) > 0) {
        usual = PyTuple_GET_SIZE(names) == 1 && PyTuple_GET_ITEM(names, 0) == text_key;
        key = args[3];
    }
    if (usual && PyUnicode_CheckExact(args[1]) && PyBytes_CheckExact(args[2])
        && (key == Py_None || PyBytes_CheckExact(key)))
        outcome = take_record(args[0], args[1], args[2], key);
    return result_of(outcome, way, args, flagged, names);
}

/* publish(self, exchange, routing_key, body) */

/* Whether a route holds as long as the model of its broker has this version. */
static int still_holds(PyObject *vhost, PyObject *route) {
    PyObject *model = PyObject_GetAttr(vhost, text_model);
    if (model == NULL) return -1;
    long long version = Py_IS_TYPE(model, Model.type) ? number_in(model, Model.version) : -1;
    Py_DECREF(model);
    return version >= 0 && version == number_in(route, Route.version);
}

/* Return the route of a message where it is known, NULL with an error or for Python. */
static PyObject *find_route(PyObject *vhost, PyObject *exchange, PyObject *routing_key, PyObject *body) {
    PyObject *routes = PyObject_GetAttr(vhost, text_routes), *key = PyTuple_Pack(2, exchange, routing_key);
    PyObject *route = NULL;
    if (routes != NULL && key != NULL && PyDict_CheckExact(routes))
        route = Py_XNewRef(PyDict_GetItemWithError(routes, key));
    Py_XDECREF(routes);
    Py_XDECREF(key);
    if (route != NULL
        && (!Py_IS_TYPE(route, Route.type) || PyBytes_GET_SIZE(body) > number_in(route, Route.limit)
            || !HOLDS(Route, route, meta, &PyBytes_Type) || still_holds(vhost, route) <= 0))
        Py_CLEAR(route);
    return route;
}

static Outcome take_message(PyObject *transaction, PyObject *exchange, PyObject *routing_key, PyObject *body) {
    Outcome outcome = is_open(transaction);
    if (outcome != DONE) return outcome;
    PyObject *stage = broker_stage(transaction), *vhost = stage == NULL ? NULL : AT(BrokerStage, stage, _vhost);
    PyObject *route = vhost == NULL ? NULL : find_route(vhost, exchange, routing_key, body);
    if (route == NULL || !HOLDS(BrokerStage, stage, _wishes, &PyList_Type)) {
        Py_XDECREF(route);
        return PyErr_Occurred() ? FAILED : FOR_PYTHON;
    }
    PyObject *parts[] = {exchange, routing_key, body, persistent}, *publication = new_tuple(publication_type, 4, parts);
    PyObject *fields[] = {publication, zero, Py_False, Py_False, route}, *wish = new_tuple(wish_type, 5, fields);
    Py_ssize_t bytes = PyBytes_GET_SIZE(AT(Route, route, meta)) + PyBytes_GET_SIZE(body);
    outcome = take_in(transaction, AT(BrokerStage, stage, _wishes), wish, bytes);
    Py_DECREF(route);
    Py_XDECREF(publication);
    Py_XDECREF(wish);
    return outcome;
}

static PyObject *publish(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    Outcome outcome = FOR_PYTHON;
    if (PyVectorcall_NARGS(flagged) == 4 && names == NULL && PyUnicode_CheckExact(args[1])
        && PyUnicode_CheckExact(args[2]) && PyBytes_CheckExact(args[3]))
        outcome = take_message(args[0], args[1], args[2], args[3]);
    return result_of(outcome, way, args, flagged, names);
}

/* ack(self, delivery) */

/* Whether a delivery is still to be settled, as far as it knows, and comes from this broker. */
static int is_in_hand(PyObject *delivery, PyObject *stage) {
    if (AT(Delivery, delivery, _settled) != Py_False || !HOLDS(Delivery, delivery, _terms, Terms.type)
        || AT(Delivery, delivery, _lane) == NULL || AT(Delivery, delivery, _stored) == NULL
        || AT(Delivery, delivery, redelivered) == NULL || AT(Delivery, delivery, delivery_count) == NULL)
        return 0;
    PyObject *terms = AT(Delivery, delivery, _terms);
    return AT(Terms, terms, vhost) == AT(BrokerStage, stage, _vhost) && AT(Terms, terms, subscriber) != NULL
        && HOLDS(Terms, terms, queue, Queue.type) && AT(Queue, AT(Terms, terms, queue), deleted) == Py_False
        && HOLDS(BrokerStage, stage, _claimed, &PyList_Type) && HOLDS(BrokerStage, stage, _settlements, &PyList_Type);
}

/* Return the entry of an acknowledgement in a stage's list. */
static PyObject *acknowledgement_of(PyObject *delivery) {
    PyObject *parts[] = {AT(Delivery, delivery, _lane), AT(Delivery, delivery, _stored),
                         AT(Delivery, delivery, redelivered), AT(Delivery, delivery, delivery_count)};
    PyObject *subscriber = Py_NewRef(AT(Terms, AT(Delivery, delivery, _terms), subscriber));
    PyObject *taken = new_tuple(taken_type, 4, parts), *fields[] = {subscriber, taken, text_ack, zero};
    PyObject *settlement = new_tuple(settlement_type, 4, fields);
    PyObject *entry = settlement == NULL ? NULL : PyTuple_Pack(2, delivery, settlement);
    Py_DECREF(subscriber);
    Py_XDECREF(taken);
    Py_XDECREF(settlement);
    return entry;
}

static Outcome take_acknowledgement(PyObject *transaction, PyObject *delivery) {
    Outcome outcome = is_open(transaction);
    if (outcome != DONE) return outcome;
    PyObject *stage = broker_stage(transaction);
    if (stage == NULL) return PyErr_Occurred() ? FAILED : FOR_PYTHON;
    if (!is_in_hand(delivery, stage)) return FOR_PYTHON;
    PyObject *entry = acknowledgement_of(delivery);
    if (entry == NULL) return FAILED;
    /* While it was made, garbage may have been collected, and that runs other code. */
    outcome = is_in_hand(delivery, stage) ? DONE : FOR_PYTHON;
    if (outcome == DONE
        && (PyList_Append(AT(BrokerStage, stage, _claimed), delivery) < 0
            || PyList_Append(AT(BrokerStage, stage, _settlements), entry) < 0))
        outcome = FAILED;
    if (outcome == DONE) set_slot(delivery, Delivery._settled, stage);
    Py_DECREF(entry);
    return outcome;
}

static PyObject *ack(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    Outcome outcome = FOR_PYTHON;
    if (PyVectorcall_NARGS(flagged) == 2 && names == NULL && Py_IS_TYPE(args[1], Delivery.type))
        outcome = take_acknowledgement(args[0], args[1]);
    return result_of(outcome, way, args, flagged, names);
}

/* commit_offsets(self, group, upto) */

/* Whether a name is one that a group may have, for sure. */
static int is_group_name(PyObject *name) {
    if (!PyUnicode_CheckExact(name) || !PyUnicode_IS_COMPACT_ASCII(name)) return 0;
    Py_ssize_t size = PyUnicode_GET_LENGTH(name);
    const Py_UCS1 *text = PyUnicode_1BYTE_DATA(name);
    for (Py_ssize_t place = 0; place < size; place++)
        if (text[place] < ' ' || text[place] > '~') return 0;
    return size > 0 && size <= longest_group_name;
}

/* Whether offsets are what `check_offsets` returns as they are. */
static int are_offsets(PyObject *offsets) {
    PyObject *partition, *offset;
    for (Py_ssize_t place = 0; PyDict_Next(offsets, &place, &partition, &offset);)
        if (!Py_IS_TYPE(partition, partition_type) || PyTuple_GET_SIZE(partition) != 2
            || !PyUnicode_CheckExact(PyTuple_GET_ITEM(partition, 0))
            || !PyLong_CheckExact(PyTuple_GET_ITEM(partition, 1)) || number_of(offset) < 0)
            return 0;
    return PyDict_GET_SIZE(offsets) > 0;
}

/* Return the coordination of a store's groups where it was made, NULL with an error or for Python. */
static PyObject *find_coordination(PyObject *stage) {
    PyObject *core = AT(LogStage, stage, _core),
             *services = core == NULL ? NULL : PyObject_GetAttr(core, text_services);
    if (services == NULL) return NULL;
    PyObject *found = PyDict_CheckExact(services) ? Py_XNewRef(PyDict_GetItemWithError(services, text_groups)) : NULL;
    Py_DECREF(services);
    return found;
}

static Outcome take_offsets(PyObject *transaction, PyObject *group, PyObject *upto) {
    Outcome outcome = is_open(transaction);
    if (outcome != DONE) return outcome;
    PyObject *stage = AT(Transaction, transaction, _log), *coordination = find_coordination(stage);
    if (coordination == NULL || !HOLDS(LogStage, stage, _offsets, &PyList_Type)) {
        Py_XDECREF(coordination);
        return PyErr_Occurred() ? FAILED : FOR_PYTHON;
    }
    PyObject *offsets = PyDict_Copy(upto), *staged = NULL;
    outcome = offsets == NULL ? FAILED : are_offsets(offsets) ? DONE : FOR_PYTHON;
    if (outcome == DONE) {
        PyObject *fields[] = {coordination, group, Py_None, offsets, Py_None};
        staged = new_tuple(offsets_type, 5, fields);
        if (staged == NULL || PyList_Append(AT(LogStage, stage, _offsets), staged) < 0) outcome = FAILED;
    }
    Py_DECREF(coordination);
    Py_XDECREF(offsets);
    Py_XDECREF(staged);
    return outcome;
}

static PyObject *commit_offsets(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    Outcome outcome = FOR_PYTHON;
    if (PyVectorcall_NARGS(flagged) == 3 && names == NULL && is_group_name(args[1]) && PyDict_CheckExact(args[2]))
        outcome = take_offsets(args[0], args[1], args[2]);
    return result_of(outcome, way, args, flagged, names);
}

/* The module */

/* set_up(classes, states of one that is new and one that is open, what knows the thread, modules, properties of a
   persistent message, kinds of records without key and with, size of a frame's header, most bytes of a commit, most
   letters of a group's name) */
static PyObject *set_up(PyObject *module, PyObject *args) {
    PyTypeObject **places[] = {&Transaction.type, &Engine.type, &LogStage.type,   &BrokerStage.type, &Topic.type,
                               &Batch.type,       &Body.type,   &Route.type,      &Model.type,       &Delivery.type,
                               &Terms.type,       &Queue.type,  &Vhost.type,      &append_type,      &publication_type,
                               &wish_type,        &taken_type,  &settlement_type, &partition_type,   &offsets_type};
    PyObject *classes, *given[7],
        **parts[] = {&state_new, &state_open, &here, &modules, &persistent, &kind_plain, &kind_keyed};
    if (!PyArg_ParseTuple(args, "O!OOOO!OOOnLn", &PyTuple_Type, &classes, &given[0], &given[1], &given[2], &PyDict_Type,
                          &given[3], &given[4], &given[5], &given[6], &frame_header_size, &most_commit_bytes,
                          &longest_group_name))
        return NULL;
    for (int place = 0; place < 7; place++) Py_XSETREF(*parts[place], Py_NewRef(given[place]));
    if (take_classes(classes, places, sizeof places / sizeof *places) != 0 || find_slots() != 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *before_init(PyObject *module, PyObject *method) {
    return make_way(way_type, begin, method);
}

static PyObject *before_append(PyObject *module, PyObject *method) {
    return make_way(way_type, append, method);
}

static PyObject *before_publish(PyObject *module, PyObject *method) {
    return make_way(way_type, publish, method);
}

static PyObject *before_ack(PyObject *module, PyObject *method) {
    return make_way(way_type, ack, method);
}

static PyObject *before_commit_offsets(PyObject *module, PyObject *method) {
    return make_way(way_type, commit_offsets, method);
}

static PyMethodDef functions[] = {
    {"set_up", set_up, METH_VARARGS, NULL},
    {"before_init", before_init, METH_O, NULL},
    {"before_append", before_append, METH_O, NULL},
    {"before_publish", before_publish, METH_O, NULL},
    {"before_ack", before_ack, METH_O, NULL},
    {"before_commit_offsets", before_commit_offsets, METH_O, NULL},
    {NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled_collecting", .m_size = -1,
                             .m_methods = functions};

static int make_constants(void) {
    zero = PyLong_FromLong(0);
    nothing = PyTuple_New(0);
    no_bytes = PyBytes_FromStringAndSize(NULL, 0);
    first_place = zero == NULL ? NULL : PyTuple_Pack(1, zero);
    text_ack = PyUnicode_InternFromString("ack");
    text_asyncio = PyUnicode_InternFromString("asyncio");
    text_broker = PyUnicode_InternFromString("broker");
    text_clock = PyUnicode_InternFromString("clock");
    text_engine = PyUnicode_InternFromString("engine");
    text_get_running_loop = PyUnicode_InternFromString("_get_running_loop");
    text_groups = PyUnicode_InternFromString("groups");
    text_key = PyUnicode_InternFromString("key");
    text_log = PyUnicode_InternFromString("log");
    text_model = PyUnicode_InternFromString("model");
    text_now_ms = PyUnicode_InternFromString("now_ms");
    text_routes = PyUnicode_InternFromString("routes");
    text_services = PyUnicode_InternFromString("services");
    text_thread = PyUnicode_InternFromString("thread");
    text_topics = PyUnicode_InternFromString("topics");
    return make_record_constants() && zero && nothing && no_bytes && first_place && text_ack && text_asyncio
        && text_broker && text_clock && text_engine && text_get_running_loop && text_groups && text_key && text_log
        && text_model && text_now_ms && text_routes && text_services && text_thread && text_topics;
}

PyMODINIT_FUNC PyInit__compiled_collecting(void) {
    way_type = (PyTypeObject *)PyType_FromSpec(&way_spec);
    PyObject *made = PyModule_Create(&module);
    if (!way_type || !made || !make_constants() || PyModule_AddIntConstant(made, "SOURCE_CRC", SOURCE_CRC) < 0)
        Py_CLEAR(made);
    return made;
}
