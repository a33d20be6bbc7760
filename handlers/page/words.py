"""The vocabulary in Russian, word for word: what the operator page calls states, kinds, reasons and columns."""

from schemas import event as words

DIRECTIONS = {"in": "входящий", "out": "исходящий", "internal": "внутренний", "": "направление неизвестно"}

STATES = {"ringing": "звонит", "talking": "разговор", "ended": "завершён"}

DISPOSITIONS = {
    "": "не завершён",
    "answered": "отвечен",
    "missed": "пропущен",
    "no_answer": "не ответили",
    "busy": "занято",
    "rejected": "отклонён",
    "cancelled": "отменён звонившим",
    "failed": "не удался",
    "unknown": "итог неизвестен",
}

REASONS = {
    "": "не названа",
    "normal": "обычное завершение",
    "no_answer": "никто не ответил",
    "busy": "занято",
    "declined": "вызов отклонён",
    "cancelled_by_caller": "звонивший положил трубку, не дождавшись ответа",
    "unavailable": "абонент недоступен",
    "invalid_number": "неверный номер",
    "no_route": "некуда направить вызов",
    "forbidden": "вызов запрещён",
    "no_funds": "недостаточно средств",
    "blocked": "абонент или номер заблокирован",
    "network": "ошибка сети",
    "answered_elsewhere": "ответил другой сотрудник",
    "unknown": "причина коннектору неизвестна",
}

HANGUP_BY = {"client": "клиент", "employee": "сотрудник", "": "неизвестно"}

RECORDING_KINDS = {"full": "весь разговор", "leg": "часть разговора"}

KINDS = {
    words.RINGING: "звонок начался",
    words.LEG_RINGING: "вызывают участника",
    words.LEG_ENDED: "до участника не дозвонились",
    words.NOTE: "дополнение",
    words.ANSWERED: "ответили",
    words.TALKING: "стороны слышат друг друга",
    words.TALK_ENDED: "разговор с участником окончен",
    words.HANGUP: "участник положил трубку",
    words.RECORDING: "готова запись",
    words.EXPIRED: "конец так и не пришёл: звонок закрыл коннектор",
    words.SETTLED: "после последнего участника тишина: звонок закрыл коннектор",
    words.ENDED: "звонок завершён",
    words.LOST: "звонок завершён и назван потерянным",
}

# The states of a delivery (inbox), as docs/operations.md calls them.
DELIVERIES = {
    "received": "ждёт передачи в журнал",
    "forwarded": "в журнале звонков",
    "ignored": "принято, не о звонке",
    "dead": "отвергнуто",
}

# Why a delivery is dead, ignored, or was not taken at all: the codes of Refusal, Ignored, Outcome and Inbox.refuse.
CODES = {
    "too_old": "звонок старше срока хранения",
    "forgotten": "удалено по требованию человека",
    "cut_short": "тело оборвалось",
    "empty": "тело пустое",
    "not_text": "тело не текст в UTF-8",
    "not_json": "тело не JSON и не форма",
    "bad_json": "ошибка в JSON",
    "not_object": "JSON, но не объект",
    "too_deep": "слишком глубокие скобки",
    "no_call_id": "нет номера звонка",
    "bad_call_id": "номер звонка не похож на номер",
    "no_event_type": "нет типа события",
    "too_many_events": "слишком много событий в одном звонке",
    "unknown_feed": "поток не этого выпуска",
    "indigestible": "журнал звонков не принял данные: ошибка коннектора",
    "our_fault": "ошибка коннектора",
    "not_a_call": "уведомление не о звонке",
    "test": "тестовое уведомление",
    "unknown_event": "неизвестное событие",
    "unknown_command": "неизвестная команда",
    "feed_closed": "поток выключен",
    "address_not_allowed": "чужой адрес",
    "no_key": "нет ключа",
    "wrong_key": "неверный ключ",
    "access_code_differs": "заголовок X-XVB-AC не совпал",
    "unknown_tenant": "чужой access_code",
    "too_large": "тело слишком велико",
    "wrong_password": "неверный пароль этой страницы",
    "locked_out": "слишком много неверных паролей",
    "foreign_form": "команда пришла не с этой страницы",
}

# Fields of CallEvent that are no column of `calls`, and a column whose comment in models.py is no name for it.
FIELDS = {
    "id": "Ключ строки",
    "employee_number": "Телефон сотрудника",
    "employee_ext": "Добавочный сотрудника",
    "feed": "Поток уведомлений",
    "kind": "Что произошло",
    "event_key": "Ключ события",
    "received_at": "Принято, по нашим часам",
    "occurred_at": "Время события",
    "leg_key": "Участник",
    "answered": "Разговор состоялся",
    "lost": "Провайдер называет звонок потерянным",
    "recordings": "Записи",
    "attributes": "Прочее, что прислал провайдер",
    "notification_name": "Название уведомления",
}

_TOLD = "из последнего события, где это указано; события без этого значения ничего не стирают"
_LENGTH = "названо провайдером; если нет — разность моментов"
_RECEIPT = "по нашим часам, время приёма уведомлений"

# Why a column has its value: calllog/fold.py's rule for it.
WHY = {
    "id": "ключ строки, не меняется никогда",
    "change_no": "новый номер при каждом изменении строки",
    "provider": "чей поток прислал уведомление",
    "provider_call_id": "назван в каждом уведомлении звонка",
    **dict.fromkeys(
        ("account", "direction", "client_number", "line_number", "employee_ids", "caller_raw", "called_raw",
         "client_name", "provider_contact_id", "scenario_name", "call_source", "external_id", "redirected_from"), _TOLD
    ),
    "state": "меняется только вперёд: звонит, разговор, завершён",
    "disposition": "ответ важнее отказа; нет ответа — по итогу от провайдера, иначе по причине и направлению",
    "is_answered": "«да», если хотя бы одно событие доказывает разговор",
    "is_missed": "«да», если входящий завершён, а итог известен и не «отвечен»",
    "provider_lost": "«да», если провайдер сам назвал звонок потерянным",
    "employee_number": "кто говорил последним; у исходящего без ответа — кто звонил",
    "employee_ext": "кто говорил последним; у исходящего без ответа — кто звонил",
    "employee_name": "имя того, кто говорил последним, если провайдер его назвал",
    "started_at": "первое названное начало; не названо — по длительности или по времени приёма",
    "answered_at": "самый ранний названный ответ; не назван — по длительности или по времени приёма",
    "ended_at": "последнее названное завершение; не названо — по длительности или по времени приёма",
    **dict.fromkeys(("wait_seconds", "total_seconds"), _LENGTH),
    "talk_seconds": "названо провайдером; если нет — от ответа до конца; без ответа — 0",
    "reason": "последнее завершающее событие, в котором названа причина; нашими словами",
    "reason_raw": "слово провайдера из последнего завершающего события",
    "hangup_by": "последнее завершающее событие, где это сказано",
    "recording_url": "лучшая запись: целого звонка, последняя",
    "events_count": "сколько разных событий известно; повторы не считаются",
    **dict.fromkeys(("first_event_at", "last_event_at", "updated_at"), _RECEIPT),
}  # fmt: skip
