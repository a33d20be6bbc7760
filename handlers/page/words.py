"""The vocabulary in Russian, word for word: what the operator page calls states, kinds, reasons and columns."""

from schemas import event as words
from setup.words import CODES as CODES

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
    "void": "звонка не было: всё, что о нём прислано, отклонено",
}

# What a search may ask for: a disposition, or one of calllog/search.py's own.
RESULTS = {
    "missed_all": "пропущен: входящий без ответа",
    "open": "не завершён",
    **{code: name for code, name in DISPOSITIONS.items() if code},
    "missed": "никто не ответил (входящий)",
}

# What became of a client whose call was missed (calllog/callbacks.py).
CALLBACKS = {
    "waiting": "не перезвонили",
    "tried": "не дозвонились",
    "called_back": "перезвонили",
    "got_through": "дозвонился сам",
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
    "blocked": "номер клиента в списке запрещённых",
    "suspended": "заблокированы наш номер, линия или договор",
    "network": "ошибка сети",
    "answered_elsewhere": "ответил другой сотрудник",
    "unknown": "причина коннектору неизвестна",
}

HANGUP_BY = {"client": "клиент", "employee": "сотрудник", "": "никто или неизвестно"}

RECORDING_KINDS = {"full": "весь разговор", "leg": "часть разговора", "voice": "голосовая почта"}

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

# What became of an attempt to call (inbox/orders.py).
ORDERS = {
    "": "набирается, или служба остановилась, не узнав итога",
    "placed": "вызов принят провайдером",
    "provider_refused": "провайдер отказал",
    "outcome_unknown": "итог неизвестен",
    "destination_not_allowed": "не набран: направление не разрешено",
    "too_many_calls": "не набран: слишком много звонков",
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
    "answered_by": "На чём это основано",
    "internal": "Внутренний, по слову провайдера",
    "by_address": "Направление — по адресу уведомления",
    "call_started_at": "Начало звонка",
    "talker_id": "Кто говорил последним",
    "by_remark": "Кто положил трубку — по примечанию документа",
    "unwanted": "Клиент в чёрном списке или списке спама",
}

_TOLD = "из последнего события, где это указано; события без этого значения ничего не стирают"
_LENGTH = "названо провайдером; если нет — разность моментов"
_RECEIPT = "по нашим часам, время приёма уведомлений"

# Why a column has its value: calllog/evidence.py's rule for it.
WHY = {
    "id": "ключ строки, не меняется никогда",
    "change_no": "новый номер при каждом изменении строки",
    "provider": "чей поток прислал уведомление",
    "provider_call_id": "назван в каждом уведомлении звонка",
    **dict.fromkeys(
        ("account", "line_number", "caller_raw", "called_raw", "client_name", "provider_contact_id", "scenario_name",
         "call_source", "external_id", "redirected_from"), _TOLD
    ),
    "direction": "внутренний — слово провайдера или два коротких номера; иначе тело, мнемоника, адрес уведомления",
    "client_number": "контакт, иначе другая сторона звонка; своя линия — только если другой стороны не видно",
    "state": "завершает событие завершения, до него — ответ; конец, о котором сказала лишь тишина, отменит любое событие",
    "disposition": "ответ сильнее отказа; иначе — слово провайдера, иначе — причина и направление",
    "is_answered": "ответ или секунды разговора; без них — сильнейшее из: разговор 0, «потерян», длительности, причина",
    "is_missed": "«да», если входящий завершён без ответа, а звонивший не в чёрном списке и не спам",
    "provider_lost": "«да», если провайдер сам назвал звонок потерянным",
    **dict.fromkeys(
        ("employee_number", "employee_ext", "employee_ids"),
        "говоривший последним: назван прямо, иначе последний ответивший, иначе назван концом; у исходящего — кто звонил"
    ),
    "employee_name": "имя говорившего последним, если провайдер его назвал",
    "started_at": "названное начало звонка; не названо — так, чтобы в звонок вошло всё, что о нём названо",
    "answered_at": "самый ранний названный ответ; конец минус разговор, если разговор начался раньше или ответ не назван",
    "ended_at": "названное завершение звонка; не названо — по длительности или по времени уведомления о конце",
    "wait_seconds": _LENGTH,
    "total_seconds": _LENGTH + ", не меньше ожидания и разговора",
    "talk_seconds": "назван концом; иначе сумма разговоров, общая минус ожидание, от ответа до конца; без ответа — 0",
    "reason": "причина последнего завершающего события, которую мы знаем; нашими словами",
    "reason_raw": "слово провайдера, из которого получена причина",
    "hangup_by": "если сторону называет причина; примечание документа — только если причины нет или она пустая",
    "recording_url": "лучшая запись: весь разговор, его часть, голосовая почта",
    "events_count": "сколько разных событий известно; повторы и прерванная тишина не считаются",
    **dict.fromkeys(("first_event_at", "last_event_at", "updated_at"), _RECEIPT),
}  # fmt: skip

# Why nothing is forwarded -> the section of docs/operations.md that says what to do.
RUNBOOK = {
    "": "ConnectorNothingForwards",
    "schema_differs": "ConnectorSchemaDiffers",
    "our_fault": "ConnectorForwardFault",
    "inbox": "ConnectorInboxNotAccepting",
    "call_log_away": "ConnectorCallLogAway",
    "restored": "ConnectorCallLogAway",
}
