-- База журнала звонков и две учётные записи в MySQL 8 или MariaDB: коннектор и 1С.
--
-- 1. Заменить в копии файла все CHANGE_ME_…: два пароля и два адреса, с которых будут подключаться (адрес, имя
--    или маска: 10.0.0.5, '10.0.0.%'). Незамеченное CHANGE_ME_… вместо адреса никого не впустит.
--    Копию с паролями читать никому не давать и после выполнения удалить.
-- 2. Выполнить от имени администратора, до таблиц: mariadb -u root < копия.sql (или mysql -u root -p < копия.sql).
-- 3. На сервере коннектора: DATABASE_URL=mysql://connector:ПАРОЛЬ@СЕРВЕР:3306/calls (особые знаки в пароле — в виде %XX),
--    затем pbx-connector db upgrade: он создаст таблицы.
-- Выполнить можно и повторно, и после pbx-connector db upgrade. Пароль существующей учётной записи файл не меняет (ALTER USER).
-- Если имя базы другое и в нём есть «_», в GRANT … ON `имя`.* его пишут как «\_»: голый «_» там значит «любой знак».

CREATE DATABASE IF NOT EXISTS calls CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

-- Коннектор: свои таблицы и их обновление (CREATE, ALTER, INDEX, DROP); ни других баз, ни учётных записей, ни файлов.
CREATE USER IF NOT EXISTS 'connector'@'CHANGE_ME_CONNECTOR_HOST' IDENTIFIED BY 'CHANGE_ME_CONNECTOR_PASSWORD';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP ON calls.* TO 'connector'@'CHANGE_ME_CONNECTOR_HOST';
-- Необязательно: с правом PROCESS коннектор называет того, кто заблокировал строки журнала (соединение, учётная запись,
-- запрос). Право видеть чужие соединения — на весь сервер; без него коннектор пишет «another transaction».
-- GRANT PROCESS ON *.* TO 'connector'@'CHANGE_ME_CONNECTOR_HOST';

-- 1С: читать журнал, писать только контакты и сотрудников.
CREATE USER IF NOT EXISTS 'c1'@'CHANGE_ME_1C_HOST' IDENTIFIED BY 'CHANGE_ME_1C_PASSWORD';
GRANT SELECT ON calls.* TO 'c1'@'CHANGE_ME_1C_HOST';
-- Этих таблиц ещё нет, а права на несуществующую таблицу сервер даёт только вместе с CREATE: даём и тут же отнимаем.
GRANT CREATE, INSERT, UPDATE, DELETE ON calls.contacts TO 'c1'@'CHANGE_ME_1C_HOST';
REVOKE CREATE ON calls.contacts FROM 'c1'@'CHANGE_ME_1C_HOST';
GRANT CREATE, INSERT, UPDATE, DELETE ON calls.employees TO 'c1'@'CHANGE_ME_1C_HOST';
REVOKE CREATE ON calls.employees FROM 'c1'@'CHANGE_ME_1C_HOST';
